"""The tree equals a dict, whatever is done to it in whatever order."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from jobd.ninep.errors import NinepError
from jobd.ninep.interfaces import OWRITE, SetStat
from jobd.testing import MemoryJobd
from tests.tree import DIALECTS

NAMES = ("a", "b", "long.name-1", "_")
SCHEDULES = ("@daily", "0 12 * * *", "*/5 * * * *", "0 0/5 * * * ? *")
COMMANDS = ("true", "echo a: b", "one\ntwo", "grüße\n")
BAD = ("60 * * * *", "nonsense", "0 0 30 2 *", "")


class Machine(RuleBasedStateMachine):
    """A client that does what clients do, and a dict that knows what ought to come of it."""

    jobs = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.jobd = MemoryJobd()
        self.model: dict[str, dict[str, Any]] = {}
        self.failed = 0

    def teardown(self) -> None:
        self.jobd.close()

    @initialize(version=st.sampled_from(DIALECTS))
    def connect(self, version: str) -> None:
        self.version = version
        self.client = result_of(self.jobd.connect(version))

    def attempt(self, deferred: Any, works: bool) -> None:
        """DEFERRED succeeds if WORKS says so, and else enters `/error`."""
        outcome = outcome_of(deferred)
        assert isinstance(outcome, NinepError) != works, outcome
        self.failed = min(16, self.failed + (not works))

    def add(self, name: str, schedule: str, command: str) -> None:
        self.model.setdefault(
            name, {"schedule": schedule, "cmd": command, "state": "stopped", "timeout": "none", "log": []}
        )

    @rule(
        target=jobs,
        name=st.sampled_from(NAMES),
        schedule=st.sampled_from(SCHEDULES),
        command=st.sampled_from(COMMANDS),
    )
    def clone(self, name: str, schedule: str, command: str) -> str:
        message = f"{name}:{schedule}:{command}\n".encode()
        self.attempt(self.client.write_file("/clone", message), name not in self.model)
        self.add(name, schedule, command)
        return name

    @rule(target=jobs, name=st.sampled_from((*NAMES, "bad name", "-x")))
    def mkdir(self, name: str) -> Any:
        self.attempt(self.client.mkdir(f"/jobs/{name}"), name in NAMES and name not in self.model)
        if name not in NAMES:
            return multiple()
        self.add(name, "", "")
        return name

    @rule(name=jobs)
    def rmdir(self, name: str) -> None:
        if name in self.model:
            self.attempt(self.client.remove(f"/jobs/{name}"), True)
            del self.model[name]

    @rule(target=jobs, name=jobs, new=st.sampled_from(NAMES))
    def rename(self, name: str, new: str) -> str:
        if name in self.model and name != new:
            free = new not in self.model
            if self.version == "9P2000.L":
                self.attempt(self.client.rename(f"/jobs/{name}", f"/jobs/{new}"), free)
            else:
                self.attempt(self.client.set_stat(f"/jobs/{name}", SetStat(name=new)), free)
            if free:
                self.model[new] = self.model.pop(name)
        return new

    @rule(name=jobs, verb=st.sampled_from(("start", "stop", "START\n", "sing")))
    def control(self, name: str, verb: str) -> None:
        if name not in self.model:
            return
        job, state = self.model[name], {"start": "started", "stop": "stopped"}.get(verb.strip().lower())
        works = state == "stopped" or (state == "started" and bool(job["schedule"] and job["cmd"]))
        self.attempt(self.client.write_file(f"/jobs/{name}/ctl", verb.encode()), works)
        if works and state != job["state"]:
            job["state"] = state
            job["log"].append(state)

    @rule(name=jobs, text=st.sampled_from(SCHEDULES + BAD))
    def schedule(self, name: str, text: str) -> None:
        if name in self.model:
            works = text in SCHEDULES
            self.attempt(self.client.write_file(f"/jobs/{name}/schedule", text.encode() + b"\n"), works)
            if works:
                self.model[name]["schedule"] = text

    @rule(name=jobs, text=st.sampled_from(("timeout 90s", "timeout", "default\n", "timeout x", "no 1")))
    def options(self, name: str, text: str) -> None:
        if name in self.model:
            works = text not in ("timeout x", "no 1")
            self.attempt(self.client.write_file(f"/jobs/{name}/options", text.encode()), works)
            if works:
                self.model[name]["timeout"] = "1m30s" if text == "timeout 90s" else "none"

    @rule(
        name=jobs,
        parts=st.lists(st.sampled_from(("echo ", "ü", "x\n", "a: b")), min_size=1),
        append=st.booleans(),
    )
    def command(self, name: str, parts: list[str], append: bool) -> None:
        if name not in self.model:
            return
        job = self.model[name]
        old = (job["cmd"] + "\n" if job["cmd"] else "") if append else ""
        fid = result_of(self.client.open(f"/jobs/{name}/cmd", OWRITE))
        offset = len(old.encode())
        for part in parts:
            offset += result_of(fid.write(offset, part.encode()))
        result_of(fid.clunk())
        text = old + "".join(parts)
        job["cmd"] = text[:-1] if text.endswith("\n") else text

    @rule()
    def restart(self) -> None:
        self.jobd.restart()
        self.failed = 0
        self.connect(self.version)

    @invariant()
    def equals_the_model(self) -> None:
        if not hasattr(self, "client"):
            return
        read = self.client.read_file
        assert sorted(result_of(self.client.listdir("/jobs"))) == sorted(self.model)
        for name, job in self.model.items():
            texts = {
                file: result_of(read(f"/jobs/{name}/{file}")).decode() for file in ("cmd", "ctl", "schedule")
            }
            assert texts["ctl"] == job["state"] + "\n"
            assert texts["cmd"] == (job["cmd"] + "\n" if job["cmd"] else "")
            lines = texts["schedule"].splitlines()
            assert lines[:1] == ([job["schedule"]] if job["schedule"] else [])
            assert len(lines[1:]) == (job["state"] == "started")
            options = result_of(read(f"/jobs/{name}/options")).decode().splitlines()
            assert f"timeout {job['timeout']}" in options
            log = result_of(read(f"/jobs/{name}/log")).decode().splitlines()
            assert [line.rsplit(":", 1)[1] for line in log] == job["log"]
        assert result_of(read("/error")).count(b"\n") == self.failed


def outcome_of(deferred: Any) -> Any:
    """What DEFERRED, which has fired, has brought: a value or an exception."""
    outcomes: list[Any] = []
    deferred.addBoth(outcomes.append)
    (outcome,) = outcomes
    return outcome.value if isinstance(outcome, Failure) else outcome


def result_of(deferred: Any) -> Any:
    """The value of DEFERRED."""
    outcome = outcome_of(deferred)
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


class ModelTest(SynchronousTestCase):
    """The machine."""

    def test_tree_equals_the_model(self) -> None:
        """After any operations, in any dialect, over restarts, the files say what a plain dict says."""
        run_state_machine_as_test(
            Machine, settings=settings(deadline=None, max_examples=40, stateful_step_count=25)
        )
