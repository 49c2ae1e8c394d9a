"""Jobs that are Python: a callable of the application in place of a command.

An application registers callables by name.  A job whose command is `@call NAME`, and nothing else, calls
that one in the reactor, where another starts a process.  Only jobs of the user that the application runs as
may: a callable is as mighty as the application.  Where nothing is registered none of this exists, and
`@call` is a word of a command like any other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from errno import EINVAL, EPERM
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobd.jobs.errors import JobError
from jobd.jobs.options import DEFAULTS, Options
from jobd.jobs.texts import shorten

if TYPE_CHECKING:
    from jobd.jobs.job import Job
    from jobd.jobs.run import Run

VERB = "@call"
LONGEST_DETAIL = 200
"""Characters of an exception that the history has; all of it is in the output."""
LEFT_BEHIND = b"jobd: it was cancelled and goes on, unheard: a callable can't be killed\n"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")

OF_PROCESSES = {
    "dir": "directory",
    "shell": "shell",
    "env": "env",
    "umask": "umask",
    "nice": "nice",
    "limit": "limit",
}
"""The options that only a process can have, by key, as attributes of `Options`."""


class Call:
    """What a callable is told of the run that it is called for."""

    def __init__(self, run: Run, write: Callable[[bytes], object]) -> None:
        self._write = write
        self.job = run.job.name
        """The name of the job."""
        self.run = run.number
        """The number of the run."""
        self.attempt = run.attempt
        """1, or more where it is tried again."""
        self.scheduled = (
            None if run.scheduled is None else datetime.fromtimestamp(run.scheduled, timezone.utc)
        )
        """The instant that the run is for, in UTC; None where somebody asked for it by hand."""

    def write(self, text: str | bytes) -> None:
        """Print TEXT: into the output of the run, and by lines into the log of the job, as it comes.

        `print(..., file=call)` does the same.  To be called in the reactor's thread.  Once the run is over,
        nothing is printed any more.
        """
        self._write(text.encode("utf-8", "backslashreplace") if isinstance(text, str) else bytes(text))


class Callables:
    """The callables that jobs may call, by name."""

    def __init__(self, user: str) -> None:
        self.user = user
        """Whom the application runs as."""
        self._known: dict[str, Callable[[Call], Any]] = {}

    def register(self, name: str, function: Callable[[Call], Any]) -> None:
        """Have `@call NAME` call FUNCTION with a `Call`.

        ValueError where NAME is not of letters, digits, `_`, `.` and `-`, or is registered already.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} can't be called: letters, digits, '_', '.' and '-' are allowed")
        if name in self._known:
            raise ValueError(f"a callable {name} is registered already")
        self._known[name] = function

    def check(self, command: str, owner: str, options: Options) -> None:
        """JobError where COMMAND is a call that a job of OWNER with OPTIONS can't make."""
        if not self._known:
            return
        if options.on_failure.split()[:1] == [VERB]:
            raise JobError(EINVAL, f"option on-failure: a command is expected; {VERB} is for cmd alone")
        self._name(command, owner, options)

    def check_begun(self, text: str, owner: str) -> None:
        """JobError where TEXT, which may go on, is the beginning of a call that a job of OWNER can't make."""
        may_become = any(f"{VERB} {name}".startswith(text) for name in self._known)
        if not may_become or owner != self.user:
            self.check(text, owner, DEFAULTS)

    def called_by(self, job: Job) -> tuple[str, Callable[[Call], Any]] | None:
        """What JOB calls, and its name; None where it runs a command.  JobError as of `check`."""
        name = self._name(job.command, job.owner, job.options) if self._known else None
        return None if name is None else (name, self._known[name])

    def _name(self, command: str, owner: str, options: Options) -> str | None:
        words = command.split(None, 2)
        if words[:1] != [VERB]:
            return None
        if len(words) != 2:
            raise JobError(EINVAL, f"command: {VERB} NAME is expected, and nothing else; {self._names()}")
        name = words[1]
        if owner != self.user:
            raise JobError(
                EPERM,
                f"command: {VERB} is for jobs of {self.user}, as whom jobd runs; this is {owner}'s",
            )
        if name not in self._known:
            raise JobError(EINVAL, f"command: no callable {shorten(name)} is registered; {self._names()}")
        unfit = [
            key for key, field in OF_PROCESSES.items() if getattr(options, field) != getattr(DEFAULTS, field)
        ]
        if unfit:
            raise JobError(
                EINVAL, f"options: {', '.join(unfit)}: only a process has them, and {VERB} {name} starts none"
            )
        return name

    def _names(self) -> str:
        return f"known: {', '.join(sorted(self._known))}"


class Calling:
    """One attempt of a run that calls: from the call to the end of what it gave."""

    log = Logger()

    directory = ""
    shown_environment: Mapping[str, str] = {}

    def __init__(
        self,
        run: Run,
        name: str,
        function: Callable[[Call], Any],
        printed: Callable[[bytes], object],
        ended: Callable[[int | None, str | None], object],
    ) -> None:
        """PRINTED takes what FUNCTION writes.  ENDED is called once: with an exit status, 0 or 1, or None
        where it was cancelled; and how it ended, in words, or None where it goes on.
        """
        self.shown_argv = [VERB, name]
        self._what = f"run {run.number} of {run.job.name}"
        self._call = Call(run, self._write)
        self._function = function
        self._printed = printed
        self._ended: Callable[[int | None, str | None], object] | None = ended
        self._cancelled = False
        self._result: Deferred[Any] | None = None

    def begin(self) -> None:
        """Call it."""
        self._result = maybeDeferred(self._function, self._call)
        self._result.addCallbacks(lambda _: self._end(0, ""), self._failed)
        if self._cancelled:
            # It ended itself, before there was anything to cancel.
            self.cancel()

    def cancel(self) -> None:
        """Cancel what it gave; it ends at once, later, or never, as it likes."""
        self._cancelled = True
        if self._result is not None:
            try:
                self._result.cancel()
            except Exception:
                self.log.failure("{what} can't be cancelled", what=self._what)

    def abandon(self) -> None:
        """Cancel it once more, and hear of it no more."""
        self.cancel()
        if self._ended is not None:
            self.log.warn("{what} was cancelled, and goes on: a callable can't be killed", what=self._what)
            self._printed(LEFT_BEHIND)
            self._end(None, None)

    def forget(self) -> None:
        """Hear of it no more."""
        self._ended = None

    def _write(self, data: bytes) -> None:
        if self._ended is not None:
            self._printed(data)

    def _failed(self, failure: Failure) -> None:
        if self._cancelled and failure.check(CancelledError):
            self._end(None, "cancelled")
            return
        self._write(failure.getTraceback().encode("utf-8", "backslashreplace"))
        why = " ".join(failure.getErrorMessage().split())
        self._end(1, f"{failure.value.__class__.__name__}: {why[:LONGEST_DETAIL]}")

    def _end(self, exit: int | None, how: str | None) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(exit, how)
        else:
            self.log.warn("{what}, which was left behind, has ended", what=self._what)
