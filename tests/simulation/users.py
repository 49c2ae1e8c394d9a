"""The users of a simulated jobd: what they ask for over 9P, and what they were answered."""

from __future__ import annotations

import errno
import random
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from jobd.access import Peer, User
from jobd.ninep import messages as m
from jobd.ninep.client import NinepClient
from jobd.ninep.errors import NinepError
from jobd.ninep.interfaces import ORDWR
from jobd.ninep.remote import deferred
from jobd.testing import MemoryJobd

_T = TypeVar("_T")

DENIED = (errno.EPERM, errno.EACCES)
TROUBLE = (errno.EIO, errno.EBUSY, errno.ENOENT)
"""A disk that fails, a job that runs or waits for an earlier change, one that is gone."""


class Possible(Generic[_T]):
    """What something may be: what was answered last, or anything that was asked for since."""

    def __init__(self, value: _T) -> None:
        self._asked: list[list[_T]] = [[value]]

    def ask(self, value: _T) -> list[_T]:
        """VALUE is asked for; a token of that."""
        token = [value]
        self._asked.append(token)
        return token

    def answer(self, token: list[_T]) -> None:
        """What was asked for with TOKEN is so, unless what was asked for later is."""
        while self._asked[0] is not token:
            del self._asked[0]

    def refuse(self, token: list[_T]) -> None:
        """What was asked for with TOKEN is not so."""
        self._asked = [each for each in self._asked if each is not token]

    def settle(self, value: _T) -> bool:
        """It was seen to be VALUE; whether it may be."""
        possible = [value] in self._asked
        self._asked = [[value]]
        return possible


class Known:
    """What is known of a job from the answers about it."""

    def __init__(self, name: str, owner: User, schedule: str, command: str) -> None:
        self.name = name
        self.owner = owner
        self.first_schedule = schedule
        self.first_command = command
        self.exists = Possible(False)
        self.schedule = Possible(schedule)
        self.command = Possible(command)
        self.state = Possible("stopped")
        self.by_hand: set[int] = set()
        """Numbers of the runs that were asked for."""


class SimulatedUser:
    """A user at a terminal, whose connection may end at any moment.

    What is done goes on while others do things, as far as the disk lets it.  WRONG is told of answers that
    nobody may be given.
    """

    def __init__(self, user: User, jobd: MemoryJobd, chance: random.Random, wrong: list[str]) -> None:
        self.user = user
        self._jobd = jobd
        self._random = chance
        self._wrong = wrong
        self._client: NinepClient | None = None

    def hang_up(self) -> None:
        """End the connection, with all that is in progress."""
        if self._client is not None:
            self._client.disconnect()
            self._client = None

    def forget(self) -> None:
        """The other side of the connection is gone."""
        self._client = None

    @property
    def client(self) -> NinepClient:
        """The connection: a new one, in a dialect that chance decides, where there is none."""
        if self._client is None:
            version = self._random.choice((m.VERSION_9P2000, m.VERSION_9P2000_U, m.VERSION_9P2000_L))
            connected: list[NinepClient] = []
            self._jobd.connect(version, Peer("simulated", self.user)).addCallback(connected.append)
            [self._client] = connected
        return self._client

    # ---- what may be asked for

    def create(self, job: Known) -> None:
        message = f"{job.name}:{job.first_schedule}:{job.first_command}".encode()
        self._change(job, self.client.write_file("/clone", message), job.exists, True)

    def start(self, job: Known) -> None:
        self._change(job, self._write(job, "ctl", "start"), job.state, "started")

    def stop(self, job: Known) -> None:
        self._change(job, self._write(job, "ctl", "stop"), job.state, "stopped")

    def set_schedule(self, job: Known, schedule: str) -> None:
        self._change(job, self._write(job, "schedule", schedule), job.schedule, schedule)

    def set_command(self, job: Known, command: str) -> None:
        self._change(job, self._write(job, "cmd", command), job.command, command)

    def set_options(self, job: Known, options: str) -> None:
        self._change(job, self._write(job, "options", options))

    def kill(self, job: Known, signal: str) -> None:
        self._change(job, self._write(job, "ctl", f"kill {signal}"))

    def run(self, job: Known) -> None:
        """Run it by hand, and wait until that has ended."""
        self._change(job, self._run(job, self.client))

    def remove(self, job: Known) -> None:
        self._change(job, self.client.remove(f"/jobs/{job.name}"), job.exists, False)

    def _write(self, job: Known, file: str, text: str) -> Deferred[None]:
        return self.client.write_file(f"/jobs/{job.name}/{file}", text.encode())

    @deferred
    async def _run(self, job: Known, client: NinepClient) -> None:
        ctl = await client.open(f"/jobs/{job.name}/ctl", ORDWR)
        await ctl.write(0, b"run")
        number = int(await ctl.read(0))
        job.by_hand.add(number)
        await ctl.clunk()
        line = (await client.read_file(f"/jobs/{job.name}/runs/{number}/wait")).decode()
        if not line.startswith(f"run={number} ") or " outcome=" not in line:
            self._wrong.append(f"run {number} of {job.name} was waited for, and gave {line!r}")

    def _change(
        self, job: Known, change: Deferred[None], facts: Possible[Any] | None = None, value: Any = None
    ) -> None:
        """CHANGE makes what FACTS are about VALUE, once it is answered."""
        token = facts.ask(value) if facts else None
        may = self.user.uid in (0, job.owner.uid)

        def answered(_: None) -> None:
            if not may:
                self._wrong.append(f"{self.user.name} changed {job.name}, which belongs to {job.owner.name}")
            if facts:
                facts.answer(token)

        def refused(failure: Failure) -> None:
            if failure.check(ConnectionDone):  # it may be so or not
                return
            if facts:
                facts.refuse(token)
            number = failure.value.errno if failure.check(NinepError) else None
            if number not in (TROUBLE if may else (*DENIED, *TROUBLE)):
                self._wrong.append(f"{self.user.name} was refused a change of {job.name}: {failure}")

        change.addCallbacks(answered, refused)
