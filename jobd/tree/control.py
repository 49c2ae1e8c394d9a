"""A job's `ctl`: its state, and what to do."""

from __future__ import annotations

import errno
import signal
from typing import Any

from twisted.internet.defer import Deferred

from jobd.jobs.errors import JobError
from jobd.jobs.texts import decode, shorten
from jobd.tree.jobnode import CTL, JobNode
from jobd.tree.texts import MessageNode, OpenMessages


class Ctl(JobNode, MessageNode):
    """`ctl`: the state, and what to do."""

    number = CTL
    mode = 0o644

    def text(self) -> bytes:
        return b"started\n" if self.job.started else b"stopped\n"

    def opened(self) -> Any:
        return OpenCtl(self)

    def message(self, data: bytes) -> Any:
        """Do what DATA says; a Deferred of a number for `run`."""
        words = decode(data, "ctl").split()
        table, job, actor = self.view.tree.table, self.job, self.view.actor
        verb = words[0].lower() if words else ""
        if verb == "kill" and len(words) <= 2:
            return table.kill(job, signal_number(words[1]) if len(words) == 2 else None, actor=actor)
        if len(words) == 1 and verb in ("start", "stop", "run"):
            return {"start": table.start, "stop": table.stop, "run": table.run}[verb](job, actor=actor)
        said = shorten(data.decode("utf-8", "replace").strip())
        raise JobError(errno.EINVAL, f"ctl: {said} is not start, stop, run or kill [SIGNAL]")


def signal_number(text: str) -> int:
    """The signal that TEXT names: `TERM`, `SIGTERM` or `15`; JobError where there is none."""
    try:
        if text.isascii() and text.isdigit():
            return signal.Signals(int(text)).value
        return signal.Signals["SIG" + text.upper().removeprefix("SIG")].value
    except (KeyError, ValueError):
        raise JobError(errno.EINVAL, f"ctl: there is no signal {shorten(text)}") from None


class OpenCtl(OpenMessages):
    """`ctl`, open: a `run` written to it is answered by the next reads, and then end of file, once."""

    _answer: bytes | None = None

    def read(self, offset: int, count: int) -> Any:
        if self._answer is None:
            return super().read(offset, count)
        part, rest = self._answer[:count], self._answer[count:]
        self._answer = rest if part else None
        return part

    def message(self, data: bytes) -> Any:
        done = self.node.message(data)
        if isinstance(done, Deferred):
            done.addCallback(self._started)
        return done

    def _started(self, number: int | None) -> None:
        if number is not None:
            self._answer = b"%d\n" % number
