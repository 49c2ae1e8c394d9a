"""jobd as a service of Twisted: everything but the options and the sockets.

`JobService` opens the store, loads the jobs, keeps them running, and has the tree for a 9P factory.
Reactor, clock, store and process provider are handed in, so that it runs inside another program, or under
a test's clock.  It leaves the program around it as it is: no signal handler is set, no directory or umask
changed, no orphan adopted and no reactor imported.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from errno import EIO
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, FirstError, gatherResults, maybeDeferred, succeed
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobd.access import Access, identify
from jobd.facade import Jobs
from jobd.jobs.attempts import Attempts
from jobd.jobs.callables import Call, Callables
from jobd.jobs.cgroups import Cgroups
from jobd.jobs.clock import Alarms, IClock, SystemClock
from jobd.jobs.errors import JobError
from jobd.jobs.here import Here
from jobd.jobs.history import History
from jobd.jobs.job import Job
from jobd.jobs.journal import Journal
from jobd.jobs.launch import Launcher
from jobd.jobs.legacy import LegacyJob, read_jobs_db
from jobd.jobs.metrics import metrics_text
from jobd.jobs.on_failure import OnFailure
from jobd.jobs.processes import PosixSpawner, SetsidSpawner, available
from jobd.jobs.proctable import MachineProcesses, ProcessTable
from jobd.jobs.records import RunRecord
from jobd.jobs.runner import Runner
from jobd.jobs.scheduler import Scheduler
from jobd.jobs.segments import SegmentStore
from jobd.jobs.slices import Slices
from jobd.jobs.store import OUTPUT, Store, StoreError, check_ours
from jobd.jobs.table import JobTable
from jobd.jobs.texts import decode
from jobd.metrics import ninep_metrics
from jobd.ninep.limits import Limits
from jobd.ninep.poller import Poller
from jobd.ninep.protocol import NinepFactory
from jobd.schedule import forget_zones
from jobd.tree import Tree
from jobd.zone import local_zone

LEGACY = "jobs.db"
NANO = 1_000_000_000


def default_max_runs() -> int:
    """8 a core, at least 64."""
    return max(64, 8 * (os.cpu_count() or 1))


def default_spawner(reactor: Any, here: Here | None = None) -> Any:
    """What starts processes best on this platform: HERE, if it can, and else where we are."""
    return PosixSpawner(reactor, here) if available() else SetsidSpawner(reactor)


class JobService(Service):
    """The scheduler, its jobs and their tree: `JobService(reactor, directory)` will do.

    `jobs` is what the program around it changes and looks at jobs by, and `factory` serves them as files.
    `filesystem` and `table`, which those rest on, are there from `startService` on.
    """

    log = Logger()
    name = "jobd"
    filesystem: Tree
    table: JobTable

    def __init__(
        self,
        reactor: Any,
        directory: str | None,
        *,
        callables: Mapping[str, Callable[[Call], Any]] = {},
        access: Access | None = None,
        spawner: Any = None,
        zone: str | None = None,
        max_runs: int | None = None,
        stop_wait: float = 0.0,
        jobs_mode: int = 0o711,
        max_jobs: int | None = None,
        clock: IClock | None = None,
        processes: ProcessTable | None = None,
        launcher: Launcher | None = None,
        cgroups: Cgroups | None = None,
        open_store: Callable[[], Store] | None = None,
        in_thread: Callable[[Callable[[], object]], Deferred[Any]] | None = None,
    ) -> None:
        """Jobs live in DIRECTORY, which is made if only its last part is missing; where it is None, they
        live until the service stops.

        CALLABLES are registered under their names.  ACCESS says who may do what through the file system; by
        default this process's user and root may all, and others what the modes allow.  SPAWNER (an
        `IReactorProcess`) starts processes, each in a session of its own; the default does that best here.
        ZONE is the time zone of schedules that name none, an IANA name; the default is this machine's, and
        `ZoneError` is raised where that has no name.  MAX_RUNS is how many runs there may be at a time;
        MAX_JOBS how many jobs a user other than root may have; JOBS_MODE the mode of a new job's directory.
        STOP_WAIT is how many seconds a stop waits for runs in progress.  With CGROUPS each run has one.

        The rest is for tests: CLOCK, the table of PROCESSES, the LAUNCHER, which knows the accounts of this
        machine, what opens the store, and IN_THREAD, which calls what would block somewhere else.
        """
        self._reactor = reactor
        self._directory = directory
        self._access = access
        self.access = access or Access()
        self._callables = Callables(self.access.daemon.name)
        for callable_name, function in callables.items():
            self.register(callable_name, function)
        self._spawner = spawner or default_spawner(reactor)
        self._in_thread = in_thread or (lambda f: deferToThreadPool(reactor, reactor.getThreadPool(), f))
        self._zone = zone or local_zone()
        self._max_runs = max_runs or default_max_runs()
        self._stop_wait = stop_wait
        self._jobs_mode = jobs_mode
        self._max_jobs = max_jobs
        self._clock = clock or SystemClock(reactor)
        self._processes = processes
        self._launcher = launcher
        self._cgroups = cgroups
        self._open_store = open_store or self._open_default_store
        self.jobs = Jobs(self)
        """The jobs, for the program around."""
        self.listeners: list[Callable[[Job, RunRecord], object]] = []
        """Told of runs, as `History.listeners` are."""
        self._factories: list[NinepFactory] = []
        self.metrics: list[Callable[[], Iterable[str]]] = []
        """What has further lines for `/metrics`: of the file service, say."""
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._stop_ticking: Callable[[], None] | None = None
        self._syncing = False

    def register(self, name: str, function: Callable[[Call], Any]) -> None:
        """Have the jobs whose command is `@call NAME` call FUNCTION, with a `Call` that tells of the run.

        It may return a value, a Deferred or a coroutine; the run lasts until there is a result, which is `ok`
        whatever it is, or an exception.  To be done before the service starts, so that no job misses it.
        ValueError where NAME is not of letters, digits, `_`, `.` and `-`, or is registered already.
        """
        self._callables.register(name, function)

    def factory(
        self,
        identify: Callable[[Any], Any] = identify,
        limits: Limits | None = None,
        trace: Callable[[str], object] | None = None,
        poller: Poller | None = None,
    ) -> NinepFactory:
        """What serves the jobs as files on any endpoint, and tells `/metrics` of it; arguments as of
        `NinepFactory`.

        By default a peer is who the kernel proves it to be, as `jobd.access.identify` says.  A connection is
        refused while the service does not run, and ended when it stops.
        """
        factory = NinepFactory(None, identify, limits, trace, poller)
        if self.running:
            factory.filesystem = self.filesystem
        self._factories.append(factory)
        self.metrics.append(lambda: ninep_metrics(factory))
        return factory

    def startService(self) -> None:
        """Open the store, take in its jobs, go on with the runs that were left, and start the clock.

        StoreError where the directory can't be used.
        """
        if self._access is None:
            # twistd may have become another user since.
            self.access = Access()
        self._callables.user = self.access.daemon.name
        self.store = store = self._open_store()
        for notice in store.notices:
            self.log.critical("{notice}", notice=notice)
        self._logs = SegmentStore(os.path.join(self._output_directory(), OUTPUT), full=lambda: store.full)
        self._alarms = Alarms(self._clock)
        self.processes = self._processes or MachineProcesses(self._reactor, self._alarms.after, self._cgroups)
        self.journal = Journal(self._clock, self._logs)
        self.history = History(self._clock, store, self.journal, self._is_crowded)
        self.history.listeners = self.listeners
        self._resting: Slices[Job] = Slices(self._clock, self._rests, self._is_crowded)
        launching: dict[str, Any] = {
            "clock": self._clock,
            "alarms": self._alarms,
            "reactor": self._reactor,
            "journal": self.journal,
            "launcher": self._launcher or Launcher(Here.of(self._spawner)),
            "spawner": self._spawner,
            "processes": self.processes,
        }
        attempts = Attempts(**launching, history=self.history, callables=self._callables)
        self.runner = Runner(
            clock=self._clock,
            alarms=self._alarms,
            history=self.history,
            journal=self.journal,
            attempts=attempts,
            on_failure=OnFailure(**launching),
            max_runs=self._max_runs,
            idle=self._resting.add,
        )
        self._scheduler = Scheduler(
            self._clock,
            dispatch=self.runner.fire,
            missed=self.runner.missed,
            held=self.runner.holds,
            exhausted=self._resting.add,
            stepped=self._clock_stepped,
        )
        self.table = JobTable(
            clock=self._clock,
            store=store,
            journal=self.journal,
            scheduler=self._scheduler,
            runner=self.runner,
            callables=self._callables,
            zone=self._zone,
            jobs_mode=self._jobs_mode,
        )
        self.filesystem = Tree(
            clock=self._clock,
            table=self.table,
            runner=self.runner,
            store=store,
            history=self.history,
            journal=self.journal,
            access=self.access,
            max_jobs=self._max_jobs,
            metrics=self._metrics,
        )
        try:
            self._load()
        except BaseException:
            # Whoever tries again shall find the directory free.
            store.close()
            raise
        self._stop_ticking = self._clock.every_second(self._tick)
        for factory in self._factories:
            factory.filesystem = self.filesystem
        super().startService()

    def _open_default_store(self) -> Store:
        return Store.memory() if self._directory is None else Store.open(self._directory, self._reactor)

    def _output_directory(self) -> str:
        if self._directory is not None:
            return self._directory
        # Output is files in any case: readers follow what is appended.
        self._temporary = tempfile.TemporaryDirectory(prefix="jobd", ignore_cleanup_errors=True)
        return self._temporary.name

    def reread_zones(self) -> None:
        """Go by the rules of time zones as the system has them now, as after an upgrade of tzdata.

        What is due by now stays so; what new rules would have had before is not owed.
        """
        forget_zones()
        self.table.reread_schedules()

    def _metrics(self) -> str:
        text = metrics_text(self.table, self.runner, self.history, self.store, self.journal)
        return text + "".join(f"{line}\n" for more in self.metrics for line in more())

    def _load(self) -> None:
        store, table = self.store, self.table
        resumed = store.get_meta("resumed")
        jobs = {}
        guard, now = int(store.get_meta("guard") or 0), self._clock.now_ns() // NANO
        for record in store.load_jobs():
            if record.watermark is not None and record.watermark > now:
                guard = max(guard, record.watermark)
            job = jobs[record.id] = table.load(record, handled=int(resumed) if resumed else None)
            try:
                self._callables.called_by(job)
            except JobError as error:
                self.log.error("job {job} can't run: {why}", job=job.name, why=error)
        if guard > now:
            store.set_meta("guard", str(guard))
        self._scheduler.guard = guard
        table.paused = store.get_meta("paused") == "1"
        self.runner.adopt(jobs, store.unfinished_runs(), self.processes)
        for job_id in store.drafts():
            store.drop_draft(job_id)
        if not table.paused:
            table.start_scheduler()
        if store.get_meta("boot_id") != self.processes.boot_id:
            store.set_meta("boot_id", self.processes.boot_id)
            if not table.paused:
                self.runner.fire_at_boot(job for job in jobs.values() if job.started)
        # After the others: what is committed already would be loaded a second time.
        self._import_legacy()

    def _import_legacy(self) -> None:
        """Take in the jobs of an original's jobs.db, once."""
        if self._directory is None or self.store.get_meta("imported") is not None:
            return
        path = os.path.join(self._directory, LEGACY)
        if not os.path.exists(path):
            return
        # Its commands run as the user of the daemon.
        check_ours(path)
        try:
            found, problems = read_jobs_db(path)
        except OSError as error:
            raise JobError(error.errno or EIO, f"{path} can't be read: {error.strerror}") from None
        for problem in problems:
            self.log.warn("{path}: {problem}", path=path, problem=problem)
        taken_in = gatherResults([self._import(path, job) for job in found], consumeErrors=True)

        def failed(failure: Failure) -> None:
            error = failure.value
            why = error.subFailure.value if isinstance(error, FirstError) else error
            self.log.error("{path}: the next start tries again: {why}", path=path, why=why)

        def done(_: object) -> None:
            self.filesystem.loading = None

        taken_in.addCallback(lambda _: self.store.set_meta("imported", path)).addErrback(failed)
        self.filesystem.loading = taken_in
        taken_in.addCallback(done)

    def _import(self, path: str, job: LegacyJob) -> Deferred[Any]:
        """Make JOB; what is wrong with it is logged, and only what is wrong with the disk is an error."""
        user = self.access.daemon

        def create() -> Deferred[Any]:
            command = decode(job.command.encode("utf-8", "surrogateescape"), "command")
            group = self.access.accounts.group_of(user)
            return self.table.create(
                job.name, job.schedule, command, owner=user.name, group=group, actor=LEGACY
            )

        def refused(failure: Failure) -> None:
            if not failure.check(JobError) or failure.check(StoreError):
                failure.raiseException()
            self.log.error(
                "{path}: job {name} is not taken in: {why}", path=path, name=job.name, why=failure.value
            )

        return maybeDeferred(create).addErrback(refused)

    def _tick(self) -> None:
        """Once a second of monotonic time."""
        self._scheduler.tick()
        self._alarms.check()
        self.history.write_again()
        self.history.catch_up()
        self._resting.resume()
        self.journal.flush()
        if not self._syncing:
            self._syncing = True
            synced = self._in_thread(self._logs.sync)
            synced.addErrback(
                lambda failure: self.log.error("output can't be synced: {why}", why=failure.getErrorMessage())
            )
            synced.addCallback(self._synced)

    def _synced(self, _: object) -> None:
        self._syncing = False

    def _rests(self, job: Job) -> None:
        """Nothing of JOB runs now, or it has no next instant: it may have come to its end."""
        self.table.end_if_exhausted(job)

    def _is_crowded(self) -> bool:
        """Whether runs are due that wait for a place: whatever can waits until they have started."""
        return self.runner.waiting > 0

    def _clock_stepped(self, seconds: float) -> None:
        self.log.warn("the clock was set by {seconds:.1f} seconds, or the machine slept", seconds=seconds)
        if seconds < 0:
            # Instants up to here may be in the history; the next daemon must know too.
            self.store.set_meta("guard", str(self._scheduler.guard)).addErrback(
                lambda failure: self.log.error("the step is not kept: {why}", why=failure.getErrorMessage())
            )
        self.journal.clock_stepped(seconds)

    def stopService(self) -> Deferred[Any]:
        """End the connections, start no further run, wait for those in progress as long as asked, and close
        the store.

        Processes that still run then go on, and the next start finds them again.  Callables are cancelled
        then, and waited for until they have ended, for the `grace` of their jobs at most.
        """
        if not self.running:
            return succeed(None)
        super().stopService()
        self._scheduler.stop()
        disconnected = self._disconnect()
        return disconnected.addCallback(lambda _: self.runner.stop(self._stop_wait)).addCallback(self._close)

    def _disconnect(self) -> Deferred[Any]:
        connections = [connection for factory in self._factories for connection in factory.connections]
        for factory in self._factories:
            factory.filesystem = None
        for connection in connections:
            connection.transport.abortConnection()
        # They end in the reactor's next turn, and what they had open is closed then.
        return deferLater(self._reactor, 0) if connections else succeed(None)

    def _close(self, _: object) -> Deferred[Any]:
        if self._stop_ticking is not None:
            self._stop_ticking()
        self._alarms.stop()
        self._resting.stop()
        self.history.close()
        self.journal.flush()
        return self.store.close().addCallback(self._closed)

    def _closed(self, _: object) -> None:
        self._logs.close()
        if self._temporary is not None:
            self._temporary.cleanup()
