"""Writes the test data of `tests.jobs.test_upgrades` for the present version of the database.

    python -m tests.jobs.freeze

To be run once for each version, by the last program that has it: what is there already is left alone.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager

from jobd.access import Access, Peer, User
from jobd.jobs.records import JobRecord, RunRecord
from jobd.jobs.schema import SCRIPTS
from jobd.jobs.store import DATABASE, Store
from jobd.ninep import messages as m
from jobd.ninep.client import NinepClient
from jobd.ninep.testing import connect
from jobd.service import JobService
from jobd.testing import FakeClock, FakeSpawner

DATA = os.path.join(os.path.dirname(__file__), "data")
NOW = 1_767_225_600
"""2026-01-01T00:00:00Z: when the database was left."""
NANO = 1_000_000_000
DAY = 86_400

OPTIONS = """description two words
timezone Europe/Berlin
dst skip
catchup all 3
deadline 2h
overlap queue 4
timeout 30s
grace 5s
retries 2
retry-delay 20s
jitter 10s
dir /var/tmp
shell /bin/bash
env COLOUR=grün
env EMPTY=
umask 077
nice 5
limit nofile 64
keep-log 65536
keep-runs 20
max-output 4096
on-failure echo $JOBD_JOB failed
"""


def job(id: int, name: str, schedule: str, command: str = "true", **more: object) -> JobRecord:
    """A job as `clone` made it a day before, with MORE."""
    made = (NOW - DAY) * NANO
    record = JobRecord(
        id, name, name, "glenda", "users", 0o711, schedule, command, created=made, changed=made
    )
    return record._replace(**more)


def started(id: int, name: str, schedule: str, **more: object) -> JobRecord:
    """One that was started."""
    times = {"started_at": (NOW - DAY) * NANO, "watermark": NOW - 30, "version": 1}
    return job(id, name, schedule, started=True, **(times | more))


JOBS = (
    started(1, "five", "*/5 8-18 * * MON-FRI", last_run=9, runs_total=7, failures=4, last_success=NOW * NANO),
    job(2, "six", "0 0 1 1 * 2030"),
    started(3, "seven", "0/30 * * * * ? *"),
    started(4, "spread", "H H * * *", seed="its-first-name", version=2),
    started(5, "alias", "@daily"),
    started(6, "every", "@every 90s", anchor=NOW - DAY + 7),
    started(7, "at", "@at 2026-12-24T1800"),
    job(8, "past", "@at 2025-12-24T1800"),
    started(9, "boot", "@reboot"),
    job(10, "empty", "", ""),
    job(11, "long", "@hourly", "cat <<'END'\nnaïve: 'quoted'\tand\\n\n\nEND\n" + "x" * 300),
    job(12, "open", "@weekly", owner="bootes", group="sys", mode=0o755, version=3),
    started(13, "all-options", "30 2 * * *", options=OPTIONS),
    job(14, "removed", "@yearly"),
)


def run(job: int, number: int, outcome: str | None, **more: object) -> RunRecord:
    """A run of JOB that took half a second."""
    began = (NOW - DAY + number * 60) * NANO
    record = RunRecord(
        job,
        number,
        scheduled=NOW - DAY + number * 60,
        run_id=f"{number:032x}",
        attempts=1,
        started=began,
        ended=began + NANO // 2,
        outcome=outcome,
        cpu=0.25,
        maxrss=1024,
        argv='["/bin/sh", "-c", "true"]',
        directory="/",
        environment='{"HOME": "/", "JOBD_JOB": "five"}',
    )
    return record._replace(**more)


NEVER = {"started": None, "attempts": 0, "cpu": None, "maxrss": None, "argv": "", "environment": ""}
RUNS = (
    run(1, 1, "ok", exit=0),
    run(1, 2, "ok", exit=0, scheduled=None, attempts=3),
    run(1, 3, "failed", exit=3, detail="exit status 3"),
    run(1, 4, "timeout", signal=15, detail="after 30s"),
    run(1, 5, "killed", signal=9, detail="by glenda: naïve"),
    run(1, 6, "lost", detail="the daemon was away"),
    run(1, 7, "skipped", detail="run 6 is in progress", **NEVER),
    run(1, 8, "missed", missed_to=NOW - DAY + 900, missed_count=7, **NEVER),
    run(1, 9, None, ended=None, cpu=None, maxrss=None, pid=4242, pid_start=7, boot_id="an earlier boot"),
)


def write(directory: str) -> None:
    """Make the database."""
    store = Store.open(directory)
    for each in JOBS:
        store.create_job(each)
    for record in RUNS:
        store.begin_run(record)
    store.put_draft(2, "half a command")
    store.delete_job(14)
    store.set_meta("paused", "0", resumed=str(NOW - 2 * DAY), guard="0", boot_id=FakeSpawner().boot_id)
    store.close()


@contextmanager
def opened(directory: str) -> Iterator[NinepClient]:
    """A client of a jobd on DIRECTORY, at the time of the database."""
    clock, spawner = FakeClock(NOW), FakeSpawner()
    service = JobService(
        clock,
        directory,
        access=Access(),
        spawner=spawner,
        zone="UTC",
        clock=clock,
        processes=spawner,
        open_store=lambda: Store.open(directory),
    )
    service.startService()
    answers: list[NinepClient] = []
    peer = Peer("test", User.by_uid(os.geteuid()))
    connect(service.filesystem, m.VERSION_9P2000, peer=peer).addCallback(answers.append)
    try:
        yield answers[0]
    finally:
        service.stopService()
        clock.forget()


def shown(client: NinepClient) -> str:
    """What the files of all jobs show, each after its path."""
    texts: list[str] = []

    def add(path: str) -> None:
        found: list[object] = []
        client.stat(path).addCallback(found.append)
        stat = found[0]
        texts.append(f"== {path} {stat.mode:o} {stat.uid} {stat.gid}\n")
        if path.endswith(("/log", "/wait", "/output")):
            return
        if stat.qid.type & 0x80:
            names: list[list[str]] = []
            client.listdir(path).addCallback(names.append)
            for name in names[0]:
                add(f"{path}/{name}")
        else:
            client.read_file(path).addCallback(
                lambda data: texts.append(data.decode("utf-8", "backslashreplace"))
            )

    add("/jobs")
    return "".join(texts)


def main() -> None:
    name = os.path.join(DATA, f"version-{len(SCRIPTS)}")
    if os.path.exists(f"{name}.sql"):
        raise SystemExit(f"{name}.sql is there")
    with tempfile.TemporaryDirectory() as parent:
        directory = os.path.join(parent, "state")
        write(directory)
        with closing(sqlite3.connect(os.path.join(directory, DATABASE))) as connection:
            script = "\n".join(connection.iterdump())
        with opened(directory) as client, open(f"{name}.txt", "w") as file:
            file.write(shown(client))
    with open(f"{name}.sql", "w") as file:
        file.write(f"PRAGMA user_version = {len(SCRIPTS)};\n{script}\n")


if __name__ == "__main__":
    main()
