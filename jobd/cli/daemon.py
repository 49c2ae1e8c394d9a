"""The files of jobd as methods: what jobctl asks of a daemon, in its own words.

Every refusal is a `Failed` with one sentence: that of `/error` where the daemon keeps one for the change.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from jobd.cli.definition import Definition
from jobd.cli.many import at_once, fetch, let_go
from jobd.cli.statuses import FAILED, Failed, status_of
from jobd.jobs.errors import JobError
from jobd.jobs.texts import check_name
from jobd.ninep.client import NinepClient, split_path
from jobd.ninep.errors import STRINGS, NinepError
from jobd.ninep.interfaces import ORDWR, OREAD, OTRUNC, OWRITE, SetStat
from jobd.ninep.remote import RemoteFid

if TYPE_CHECKING:
    from jobd.ninep.stat import Stat


class Daemon:
    """The tree of a jobd as one attached user sees it."""

    def __init__(self, client: NinepClient, root: RemoteFid, reactor: Any) -> None:
        self.client = client
        self.root = root
        self.reactor = reactor
        """The clock to wait by."""

    async def as_user(self, name: str) -> Daemon:
        """The same connection, attached as the user NAME: what a connection of root may do."""
        try:
            root = await self.client.attach(name)
        except NinepError as error:
            raise Failed(f"jobd lets nobody act as {name} here: {error}", status_of(error.errno)) from None
        return Daemon(self.client, root, self.reactor)

    # ---- looking

    async def read(self, path: str) -> bytes:
        """All there is in the file at PATH."""
        fid = await self._walk(path)
        try:
            with remote_errors(path):
                await fid.open(OREAD)
                return await fid.read_all()
        finally:
            await let_go(fid)

    async def text(self, path: str) -> str:
        """`read`, decoded."""
        return (await self.read(path)).decode("utf-8", "replace")

    async def read_many(self, paths: Sequence[str], label: str = "") -> list[str | NinepError]:
        """What is in each of many small files, or why it can't be read; a LABEL has a bar shown."""
        return await at_once(lambda path: fetch(self.root, path), paths, label)

    async def names(self) -> list[str]:
        """The names of all jobs, sorted."""
        return sorted(stat.name for stat in await self.listing("/jobs"))

    async def listing(self, path: str) -> list[Stat]:
        """What is in the directory at PATH."""
        fid = await self._walk(path)
        try:
            with remote_errors(path):
                await fid.open(OREAD)
                return await fid.stats()
        finally:
            await let_go(fid)

    async def stat(self, path: str) -> Stat:
        """The attributes of the file at PATH."""
        fid = await self._walk(path)
        try:
            with remote_errors(path):
                return await fid.stat()
        finally:
            await let_go(fid)

    async def definition(self, name: str) -> Definition:
        """The job NAME as it can be made again."""
        return (await self.definitions([name]))[0]

    async def definitions(self, names: Sequence[str]) -> list[Definition]:
        """Those jobs as they can be made again."""
        owners = {stat.name: stat.uid for stat in await self.listing("/jobs")}
        files = ("schedule", "ctl", "options", "cmd")
        paths = [job_path(name, file) for name in names for file in files]
        texts = await self.read_many(paths, "reading jobs")
        for path, text in zip(paths, texts, strict=True):
            if isinstance(text, NinepError):
                raise _plain(path, text)
        each = iter(str(text) for text in texts)
        return [
            Definition.of_files(name, owners.get(name, ""), *group)
            for name, group in zip(names, zip(*[each] * len(files), strict=True), strict=True)
        ]

    async def open(self, path: str, mode: int = OREAD) -> RemoteFid:
        """The file at PATH, open; for reading, what is written to it must be a change."""
        fid = await self._walk(path)
        try:
            return await fid.open(mode)
        except NinepError as error:
            await let_go(fid)
            raise await self._refused(path, error) if mode & 3 != OREAD else _plain(path, error) from None

    # ---- changing

    async def write(self, path: str, data: bytes) -> None:
        """Write DATA to the file at PATH, as one message where it fits."""
        fid = await self.open(path, OWRITE | OTRUNC)
        try:
            await fid.write(0, data)
        except NinepError as error:
            await let_go(fid)
            raise await self._refused(path, error) from None
        await self._finish(path, fid.clunk())

    async def control(self, name: str, verb: str) -> None:
        """Write VERB to the ctl file of the job NAME."""
        await self.write(job_path(name, "ctl"), verb.encode())

    async def run(self, name: str) -> int:
        """Run the job NAME now; the number of the run."""
        path = job_path(name, "ctl")
        fid = await self.open(path, ORDWR)
        try:
            await fid.write(0, b"run")
            return int(await fid.read(0))
        except NinepError as error:
            raise await self._refused(path, error) from None
        finally:
            await let_go(fid)

    async def remove(self, name: str) -> None:
        """Delete the job NAME."""
        path = job_path(name)
        await self._finish(path, (await self._walk(path)).remove())

    async def rename(self, name: str, new: str) -> None:
        """Call the job NAME NEW."""
        path = job_path(name)
        fid = await self._walk(path)
        try:
            _check_name(new)
            await self._finish(path, fid.set_stat(SetStat(name=new)))
        finally:
            await let_go(fid)

    async def create(self, job: Definition) -> None:
        """Make JOB as it says, its owner apart; where a part of it is refused, nothing stays behind."""
        _check_name(job.name)
        message = f"{job.name}:{job.schedule}:{job.command}\n".encode()
        # A schedule with a colon, a job without one, and a long command can't be said to clone.
        if job.schedule and ":" not in job.schedule and len(message) <= self.client.session.largest:
            await self.write("/clone", message)
            rest = job._replace(schedule="", command="")
        else:
            await self._mkdir(job.name)
            rest = job
        try:
            await self._fill(rest)
        except Failed:
            await self.remove(job.name)
            raise

    async def _mkdir(self, name: str) -> None:
        directory = await self._walk("/jobs")
        try:
            await self._finish(job_path(name), directory.mkdir(name))
        finally:
            await let_go(directory)

    async def _fill(self, job: Definition) -> None:
        # The options come first: the time zone decides what a schedule means.
        if job.options:
            await self.write(job_path(job.name, "options"), _message(job.options))
        if job.schedule:
            await self.write(job_path(job.name, "schedule"), job.schedule.encode())
        if job.command:
            await self.write(job_path(job.name, "cmd"), job.command.encode() + b"\n")
        if job.started:
            await self.control(job.name, "start")

    async def replace(self, old: Definition, new: Definition) -> None:
        """Make the job OLD what NEW says, its owner apart; where a part of it is refused, it stays OLD."""
        done = old
        try:
            if new.name != old.name:
                await self.rename(old.name, new.name)
                done = done._replace(name=new.name)
            if old.started and not new.started:
                await self.control(new.name, "stop")
                done = done._replace(started=False)
            if new.options != old.options:
                await self.write(job_path(new.name, "options"), _message(("default", *new.options)))
                done = done._replace(options=new.options)
            if new.schedule != old.schedule:
                await self.write(job_path(new.name, "schedule"), new.schedule.encode())
                done = done._replace(schedule=new.schedule)
            if new.command != old.command:
                await self.write(job_path(new.name, "cmd"), new.command.encode() + b"\n")
                done = done._replace(command=new.command)
            if new.started and not old.started:
                await self.control(new.name, "start")
        except Failed:
            if done != old:
                await self.replace(done, old)
            raise

    # ---- helpers

    async def _walk(self, path: str) -> RemoteFid:
        with remote_errors(path):
            return await self.root.walk(*split_path(path))

    async def _finish(self, path: str, change: Deferred[Any]) -> None:
        try:
            await change
        except NinepError as error:
            raise await self._refused(path, error) from None

    async def _refused(self, path: str, error: NinepError) -> Failed:
        """The refusal of a change of PATH, with the sentence that /error has for it."""
        path = "/" + "/".join(split_path(path))
        try:
            lines = (await self.text("/error")).splitlines()
        except Failed:
            lines = []
        for line in reversed(lines):
            # `2026-11-22 10:02:30.102938475 +0100 CET:/clone: the sentence`
            said = line.split(":", 3)[-1]
            if said.startswith(f"{path}: "):
                return Failed(said[len(path) + 2 :], status_of(error.errno))
        return _plain(path, error)


def job_path(name: str, file: str = "") -> str:
    """The path of a job, or of a file of it. `Failed` where no job can have that name."""
    if not name or "/" in name or name in (".", ".."):
        raise Failed(f"{name!r} can't be the name of a job", FAILED)
    return f"/jobs/{name}/{file}".rstrip("/")


def _check_name(name: str) -> None:
    """`Failed` where no job may be called NAME; 9P itself would refuse some without a word."""
    try:
        check_name(name)
    except JobError as error:
        raise Failed(str(error)) from None


def _message(lines: Sequence[str]) -> bytes:
    return "".join(line + "\n" for line in lines).encode()


_FILES = [["ctl"], ["cmd"], ["schedule"], ["options"], ["log"], ["history"], ["status"], ["next"]]
"""Those that every job has."""


def _plain(path: str, error: NinepError) -> Failed:
    """A refusal for which the daemon keeps no sentence."""
    names = split_path(path)
    if error.errno == errno.ENOENT and names[0] == "jobs" and (len(names) == 2 or names[2:] in _FILES):
        return Failed(f"there is no job {names[1]}", status_of(error.errno))
    why = os.strerror(error.errno) if str(error) == STRINGS.get(error.errno) else str(error)
    return Failed(f"{path}: {why[:1].lower()}{why[1:]}", status_of(error.errno))


@contextmanager
def remote_errors(path: str) -> Iterator[None]:
    """Let refusals of what is asked of PATH be `Failed`."""
    try:
        yield
    except NinepError as error:
        raise _plain(path, error) from None
