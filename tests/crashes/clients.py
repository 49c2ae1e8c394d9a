"""Clients that change jobs as fast as they can, and remember what they were answered."""

from __future__ import annotations

import random
from typing import NamedTuple

from jobd.ninep import messages as m
from tests.processes import Client

JOBS = 4
"""Of each client."""
SCHEDULES = ("* * * * * ? *", "*/2 * * * * ? *", "@yearly")
CHANGES = ("start", "start", "stop", "cmd", "schedule", "run", "remove")


class State(NamedTuple):
    """What a client can know of a job of its own."""

    command: str
    schedule: str
    started: bool


class RefusalError(Exception):
    """What a client asked for was refused."""


class Changer:
    """A user with some jobs, whom nobody else disturbs.

    `possible` has each job as it may be: one state where the last change was answered, two where it was not,
    None among them where there may be no such job.  WITNESS is the file in which its runs sign.

    After a refusal all is as it was.  Where a failed commit may be on disk all the same (DOUBTFUL), the next
    look tells.
    """

    def __init__(self, number: int, witness: str, seed: int, *, doubtful: bool = False) -> None:
        self._doubtful = doubtful
        self._random = random.Random(seed)
        self._witness = witness
        self._commands = 0
        self.possible: dict[str, set[State | None]] = {
            f"user{number}-job{job}": {None} for job in range(JOBS)
        }
        self.refusals: list[str] = []
        self.answered = 0

    def work(self, client: Client) -> None:
        """Ask for one change after another, until the daemon is gone."""
        try:
            while True:
                self._change(client, self._random.choice([*self.possible]))
        except (ConnectionError, TimeoutError):
            pass

    def look(self, client: Client) -> None:
        """AssertionError where a job is not as it was answered, or as was asked for last."""
        for name, possible in self.possible.items():
            found = look(client, name)
            if found not in possible:
                raise AssertionError(f"{name} is {found}, and not {possible}")
            self.possible[name] = {found}

    def _change(self, client: Client, name: str) -> None:
        if len(self.possible[name]) > 1:
            self.possible[name] = {look(client, name)}
        [old] = self.possible[name]
        if old is None:
            new = State(self._command(), self._random.choice(SCHEDULES), started=False)
            self._try(client, name, None, new, "clone", f"{name}:{new.schedule}:{new.command}")
            return
        change = self._random.choice(CHANGES)
        if change == "remove":
            self._try(client, name, old, None, f"jobs/{name}")
        elif change == "cmd":
            new = old._replace(command=self._command())
            self._try(client, name, old, new, f"jobs/{name}/cmd", new.command)
        elif change == "schedule":
            new = old._replace(schedule=self._random.choice(SCHEDULES))
            self._try(client, name, old, new, f"jobs/{name}/schedule", new.schedule)
        else:
            new = old if change == "run" else old._replace(started=change == "start")
            self._try(client, name, old, new, f"jobs/{name}/ctl", change)

    def _try(
        self,
        client: Client,
        name: str,
        old: State | None,
        new: State | None,
        path: str,
        text: str | None = None,
    ) -> None:
        """Have the job NAME go from OLD to NEW: write TEXT to PATH, or without one remove what is there."""
        self.possible[name] = {old, new}
        try:
            if text is None:
                remove(client, path)
            else:
                write(client, path, text)
        except RefusalError as refusal:
            self.refusals.append(str(refusal))
            if not self._doubtful:
                self.possible[name] = {old}
        else:
            self.possible[name] = {new}
            self.answered += 1

    def _command(self) -> str:
        """A new one, whose runs say in one write which job they are of, and which instant."""
        self._commands += 1
        return f': {self._commands}; echo "$JOBD_JOB $JOBD_SCHEDULED $JOBD_RUN_ID" >> {self._witness}'


def look(client: Client, name: str) -> State | None:
    """The job NAME as it is."""
    if not walk(client, f"jobs/{name}"):
        return None
    client.ask(m.Tclunk(1))
    return State(
        command=client.read(f"jobs/{name}/cmd").removesuffix("\n"),
        schedule=client.read(f"jobs/{name}/schedule").partition("\n")[0],
        started=client.read(f"jobs/{name}/ctl") == "started\n",
    )


def walk(client: Client, path: str) -> bool:
    """Have fid 1 be the file at PATH, if there is one."""
    names = tuple(path.split("/"))
    reply = client.ask(m.Twalk(0, 1, names))
    return isinstance(reply, m.Rwalk) and len(reply.qids) == len(names)


def write(client: Client, path: str, text: str) -> None:
    """Write TEXT to the file at PATH, in one message."""
    if not walk(client, path):
        raise RefusalError(f"no {path}")
    try:
        _ask(client, m.Topen(1, 1))
        _ask(client, m.Twrite(1, 0, text.encode()))
    finally:
        _ask(client, m.Tclunk(1))


def remove(client: Client, path: str) -> None:
    """Remove what is at PATH."""
    if not walk(client, path):
        raise RefusalError(f"no {path}")
    _ask(client, m.Tremove(1))


def _ask(client: Client, message: object) -> None:
    reply = client.ask(message)
    if isinstance(reply, m.Rerror):
        raise RefusalError(reply.ename)
