"""Attempts: the processes of runs, from their start to their end, and the calls of runs that call.

An attempt is started in its turn, prints into the log and the output of its run, is ended when its time is
up or somebody wants it, and is told of when its process is gone.  A process outlives the daemon: the next one
adopts it.  A call ends with the daemon.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from errno import EINVAL
from typing import TYPE_CHECKING, Any

from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobd.jobs.callables import Call, Callables, Calling
from jobd.jobs.errors import JobError
from jobd.jobs.launch import spawn
from jobd.jobs.output import PipeReader, make_pipe
from jobd.jobs.run import KILLED, NANO, TIMEOUT, Run, signal_name
from jobd.jobs.slices import Slices

if TYPE_CHECKING:
    from jobd.jobs.clock import Alarms, IClock
    from jobd.jobs.groups import Identity
    from jobd.jobs.history import History
    from jobd.jobs.journal import Journal
    from jobd.jobs.launch import Launcher, Spawner
    from jobd.jobs.proctable import ProcessTable

LAST_OUTPUT = 1 << 20
"""Bytes of output that are read at once when a process ended: what its pipe can hold."""


class Attempts:
    """Starts, watches and ends the processes of runs."""

    log = Logger()

    def __init__(
        self,
        *,
        clock: IClock,
        alarms: Alarms,
        reactor: Any,
        journal: Journal,
        history: History,
        launcher: Launcher,
        spawner: Spawner,
        processes: ProcessTable,
        callables: Callables,
    ) -> None:
        self._clock = clock
        self._alarms = alarms
        self._reactor = reactor
        self._journal = journal
        self._history = history
        self._launcher = launcher
        self._spawner = spawner
        self._processes = processes
        self._callables = callables
        self._starts: Slices[Run] = Slices(clock, self._start)
        self.running: dict[str, Run] = {}
        """Runs with a process or a callable that runs, by run id."""
        self.ended: Callable[[Run, str | None], object] = lambda _run, _how: None
        """Told of each attempt that is over, and how; None where nobody can know."""

    def start(self, run: Run) -> None:
        """Start the next attempt of RUN, when those before it were started."""
        self._starts.add(run)

    def _start(self, run: Run) -> None:
        if run.cause is not None:
            self.ended(run, run.cause)
            return
        run.attempt += 1
        run.exit = run.signal = run.sent = None
        try:
            called = self._callables.called_by(run.job)
            if called is None:
                self._spawn(run)
            else:
                self._call(run, *called)
        except Exception as error:
            if not isinstance(error, (OSError, JobError)):
                self.log.failure("run {n} of {job}", n=run.number, job=run.job.name)
            self._stop_reading(run)
            self.ended(run, f"not started: {error}")

    def _spawn(self, run: Run) -> None:
        command = self._launcher.command(run.job, run)
        reader, writer = make_pipe()
        run.reader = self._reader(run, reader)
        run.process = spawn(self._spawner, command, _RunProtocol(self, run), writer)
        self._processes.began(run.run_id, run.process.pid)
        run.identity = self._processes.identify(run.process.pid)
        self.running[run.run_id] = run
        self._history.began(run, command)
        self._limit(run, run.job.options.timeout)

    def _call(self, run: Run, name: str, function: Callable[[Call], Any]) -> None:
        def ended(exit: int | None, how: str | None) -> None:
            run.exit = exit
            self._over(run, how)

        run.call = Calling(run, name, function, lambda data: self._printed(run, data), ended)
        self.running[run.run_id] = run
        self._history.began(run, run.call)
        self._limit(run, run.job.options.timeout)
        run.call.begin()

    def _limit(self, run: Run, seconds: float) -> None:
        if run.job.options.timeout:
            run.alarm = self._alarms.after(max(0.0, seconds), self._timed_out, run)

    def _timed_out(self, run: Run) -> None:
        run.alarm = None
        self.end(run, TIMEOUT, f"after {run.job.options.timeout:g}s")

    # ---- output

    def _reader(self, run: Run, fd: int) -> PipeReader:
        return PipeReader(self._reactor, fd, lambda data: self._printed(run, data))

    def _printed(self, run: Run, data: bytes) -> None:
        if run.job.removed:
            self._stop_reading(run)
        else:
            self._journal.printed(run, data)

    @staticmethod
    def _stop_reading(run: Run) -> None:
        if run.reader is not None:
            run.reader.close()

    # ---- the end

    def signal(self, run: Run, signum: int) -> None:
        """Send SIGNUM to the group of RUN's process, and do nothing else; JobError where it has none."""
        if run.call is not None:
            raise JobError(
                EINVAL, f"run {run.number} is no process: kill alone cancels it, and kill KILL at once"
            )
        if run.identity is not None:
            run.sent = signum
            self._processes.signal(run.identity, signum)

    def end(self, run: Run, cause: str, detail: str, *, at_once: bool = False) -> None:
        """End RUN for CAUSE: TERM to its group, and after the grace KILL to all that it has started.

        A call is cancelled, and left behind after the grace.
        """
        if run.cause is None:
            run.cause, run.detail = cause, detail
        if not run.in_attempt:
            return
        if at_once:
            self._kill(run)
        elif run.kill_alarm is None:
            # Armed first: the process may be gone when the signal was sent, and take its alarm with it.
            run.kill_alarm = self._alarms.after(run.job.options.grace, self._kill, run)
            if run.call is not None:
                run.call.cancel()
            elif run.identity is not None:
                self._processes.terminate(run.identity, run.run_id)

    def _kill(self, run: Run) -> None:
        if run.kill_alarm is not None:
            run.kill_alarm.cancel()
            run.kill_alarm = None
        if run.call is not None:
            run.call.abandon()
        elif run.identity is not None:
            self._processes.end_all(run.identity, run.run_id)

    def _exited(self, run: Run, exit: int | None, signum: int | None) -> None:
        """The process of RUN has ended with a status that is known, or, if both are None, is not."""
        run.exit, run.signal = exit, signum
        if run.cause is not None:
            # The process is gone; what it has started goes too.
            self._kill(run)
        else:
            self._processes.done(run.run_id)
        if signum is not None:
            self._over(run, f"killed by {signal_name(signum)}")
        else:
            self._over(run, None if exit is None else f"exit status {exit}")

    def _over(self, run: Run, how: str | None) -> None:
        """The attempt has ended, and HOW."""
        run.cancel_alarms()
        run.process = run.watching = run.identity = run.call = None
        self.running.pop(run.run_id, None)
        if run.reader is not None:
            # What a grandchild prints later still comes; only the run does not wait for it.
            run.reader.drain(LAST_OUTPUT)
        self._journal.printed_all(run)
        self.ended(run, how)

    def process_exited(self, run: Run, reason: Failure) -> None:
        """The process of RUN has ended: `IProcessProtocol.processExited`."""
        if run.process is None:  # the daemon has let go of it
            return
        usage = getattr(run.process, "rusage", None)
        if usage is not None:
            run.cpu = (run.cpu or 0.0) + usage.cpu
            run.maxrss = max(run.maxrss or 0, usage.maxrss)
        status: Any = reason.value
        self._exited(run, status.exitCode, status.signal)

    # ---- over restarts

    def adopt(self, run: Run, identity: Identity) -> None:
        """Go on with the process of RUN, which an earlier daemon started."""

        def ended(status: int | None) -> None:
            if status is None:
                self._exited(run, None, None)
            elif os.WIFSIGNALED(status):
                self._exited(run, None, os.WTERMSIG(status))
            else:
                self._exited(run, os.WEXITSTATUS(status), None)

        run.identity = identity
        self.running[run.run_id] = run
        fd = self._processes.open_output(identity)
        if fd is not None:
            run.reader = self._reader(run, fd)
        run.watching = self._processes.watch(identity, ended)
        passed = 0.0 if run.started is None else (self._clock.now_ns() - run.started) / NANO
        self._limit(run, run.job.options.timeout - passed)

    def let_go(self) -> list[Run]:
        """Leave all processes to the next daemon, and hear of none any more; cancel all calls.

        Gives the runs that were still to be started.
        """
        for run in list(self.running.values()):
            if run.call is not None:
                self.end(run, KILLED, "jobd was stopped")
                continue
            del self.running[run.run_id]
            run.cancel_alarms()
            self._stop_reading(run)
            if run.watching is not None:
                run.watching.stop()
            run.process = None
        return self._starts.stop()


class _RunProtocol(ProcessProtocol):
    """Tells of the end of a process."""

    def __init__(self, attempts: Attempts, run: Run) -> None:
        self._attempts = attempts
        self._run = run

    def processExited(self, reason: Failure) -> None:
        self._attempts.process_exited(self._run, reason)
