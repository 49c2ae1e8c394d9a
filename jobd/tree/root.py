"""The root of the tree, and the files beside the jobs."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

import jobd
from jobd.access import AccessError
from jobd.jobs.actor import Actor
from jobd.jobs.errors import JobError
from jobd.jobs.texts import attribute_lines, attributes, check_name, decode, parse_definition, shorten
from jobd.ninep.errors import NinepError
from jobd.ninep.interfaces import DMAPPEND, DMSETVTX, Attach, Entry, IFilesystem, Statfs
from jobd.tree.growing import GrowingNode
from jobd.tree.job import JobDirectory
from jobd.tree.nodes import DirectoryNode, FixedDirectory, Rights, TreeNode
from jobd.tree.texts import Lengths, MessageNode, TextNode
from jobd.tree.view import Failures, View, one_line

if TYPE_CHECKING:
    from jobd.access import Access
    from jobd.jobs.clock import IClock
    from jobd.jobs.history import History
    from jobd.jobs.job import Job
    from jobd.jobs.journal import Journal
    from jobd.jobs.runner import Runner
    from jobd.jobs.store import Store
    from jobd.jobs.table import JobTable

# qid paths of the files that belong to no job: ids of jobs begin at 1, and theirs are above 2**36.
ROOT, CLONE, CTL, ERROR, EVENTS, METRICS, VERSION, JOBS = range(1, 9)


@implementer(IFilesystem)
class Tree:
    """All of jobd as a file system."""

    log = Logger()

    def __init__(
        self,
        *,
        clock: IClock,
        table: JobTable,
        runner: Runner,
        store: Store,
        history: History,
        journal: Journal,
        access: Access,
        metrics: Callable[[], str],
        max_jobs: int | None = None,
    ) -> None:
        """MAX_JOBS is how many jobs a user other than root may have."""
        self.clock = clock
        self.table = table
        self.runner = runner
        self.store = store
        self.history = history
        self.journal = journal
        self.access = access
        self.accounts = access.accounts
        self.max_jobs = max_jobs
        self.metrics = metrics
        self.lengths = Lengths(clock.monotonic)
        self.began = clock.now_ns()
        """When the daemon started, in nanoseconds."""
        self.loading: Deferred[Any] | None = None
        """Fires when the last jobs are there; None once they are. Until then nobody is let in."""
        self._failures: dict[int, Failures] = {}

    def attach(self, request: Attach) -> Any:
        """The root for the user that the access rules make of REQUEST."""
        try:
            user = self.access.admit(request.peer, request.uname, request.n_uname)
        except AccessError as error:
            where = "" if request.peer is None else request.peer.description
            self.log.warn(
                "refused attach {attach}",
                attach=attributes([("why", one_line(str(error))), ("by", one_line(where))]),
            )
            # The sentence goes over the wire: who is refused here has no /error to read.
            raise NinepError(error.errno, str(error), ename=str(error)) from None
        if request.aname not in ("", "/"):
            raise NinepError(
                errno.ENOENT, f"there is no tree {shorten(request.aname)} to attach: it is called ''"
            )
        words = user.name if request.peer is None else f"{user.name} {request.peer.description}"
        actor = Actor(one_line(words), lambda job: self.access.check_owner(user, job.owner))
        failures = self._failures.setdefault(user.uid, Failures())
        # Root's own connection is from here, where users have the numbers that they have.
        from_here = request.peer is not None and request.peer.speaks_for_others
        local_uid = None if from_here else request.n_uname
        root = Root(None, "/", View(self, user, actor, failures, local_uid))
        if self.loading is None:
            return root
        attached: Deferred[Root] = Deferred()
        self.loading.addBoth(lambda _: attached.callback(root))
        return attached

    def statfs(self) -> Statfs:
        """Its numbers of files mean little, its type means that `tail -f` polls."""
        return Statfs(files=len(self.table) * len(JobDirectory.table))

    def stirred(self, job: Job) -> int:
        """When JOB was last changed, or a run of it began or ended, in nanoseconds."""
        last = self.history.last_ended(job)
        began = (run.started or 0 for run in job.active.values())
        return max(job.changed, last.ended if last else 0, *began)


class _OfRoot(TreeNode):
    """A file that belongs to the daemon."""

    number = 0
    mode = 0o444

    def rights(self) -> Rights:
        daemon = self.view.tree.access.daemon
        return self.mode, daemon.name, self.view.tree.accounts.group_of(daemon)

    def changed(self) -> int:
        return self.view.tree.began

    def qid_path(self) -> int:
        return self.number


class Clone(_OfRoot, MessageNode):
    """`clone`: a message makes a job."""

    number = CLONE
    mode = 0o666

    def message(self, data: bytes) -> Any:
        definition = parse_definition(data)
        if not definition.schedule:
            raise JobError(
                errno.EINVAL, f"clone: {definition.name} has no schedule: NAME:SCHEDULE:COMMAND is expected"
            )
        return self.view.create(*definition)


class _Lively(_OfRoot):
    """A file that tells of all jobs and runs: whatever changes one commits something."""

    def changed(self) -> int:
        return self.view.tree.clock.now_ns()

    def version(self) -> int:
        return self.view.tree.store.commits


class Ctl(_Lively, MessageNode):
    """`ctl`: whether anything fires, and how the daemon stands."""

    number = CTL
    mode = 0o644

    def text(self) -> bytes:
        tree = self.view.tree
        facts: list[tuple[str, object]] = [
            ("jobs", len(tree.table)),
            ("runs", len(tree.runner.running)),
            ("waiting", tree.runner.waiting),
            ("timezone", tree.table.zone),
            ("version", jobd.__version__),
        ]
        state = "paused\n" if tree.table.paused else "running\n"
        return (state + attribute_lines(facts)).encode()

    def message(self, data: bytes) -> Any:
        verb = decode(data, "ctl").strip().lower()
        table = self.view.tree.table
        if verb not in ("pause", "resume"):
            raise JobError(errno.EINVAL, f"ctl: {shorten(verb)} is not pause or resume")
        return (table.pause if verb == "pause" else table.resume)(actor=self.view.actor)


class Error(_OfRoot, TextNode):
    """`error`: the user's failed changes."""

    number = ERROR

    def changed(self) -> int:
        return self.view.failures.changed or self.view.tree.began

    def version(self) -> int:
        return self.view.failures.count

    def text(self) -> bytes:
        return self.view.failures.text()


class Events(GrowingNode, _OfRoot):
    """`events`: what happened to all jobs."""

    number = EVENTS
    type = DMAPPEND >> 24

    def log(self) -> Any:
        return self.view.tree.journal.events

    def changed(self) -> int:
        return self.log().mtime or self.view.tree.began


class Metrics(_Lively, TextNode):
    """`metrics`: counters and gauges for Prometheus."""

    number = METRICS
    costly = True

    def text(self) -> bytes:
        return self.view.tree.metrics().encode()


class Version(_OfRoot, TextNode):
    """`version`: which jobd this is."""

    number = VERSION

    def text(self) -> bytes:
        return f"jobd {jobd.__version__}\n".encode()


class Jobs(DirectoryNode, _OfRoot):
    """`jobs`: a directory for each job."""

    number = JOBS
    mode = 0o777 | DMSETVTX

    def changed(self) -> int:
        return self.view.tree.table.changed

    def version(self) -> int:
        return self.view.tree.table.version

    def walk(self, name: str) -> Any:
        job = self.view.tree.table.find(name)
        if job is None:
            raise NinepError(errno.ENOENT, f"there is no job {shorten(name)}")
        return JobDirectory(self, self.view, job)

    def entries(self, after: int) -> Iterable[Entry]:
        for job in self.view.tree.table.after(after):
            yield Entry(job.id, JobDirectory(self, self.view, job))

    def mkdir(self, name: str, perm: int, gid: int | None) -> Any:
        def change() -> Any:
            made = self.view.create(check_name(name), "", "")
            return made.addCallback(lambda job: JobDirectory(self, self.view, job))

        return self.view.change(f"{self.path}/{name}", change)


class Root(FixedDirectory, _OfRoot):
    """The root."""

    number = ROOT
    mode = 0o755
    table = {  # noqa: RUF012 - the table of a class, as declared
        "clone": Clone,
        "ctl": Ctl,
        "error": Error,
        "events": Events,
        "metrics": Metrics,
        "version": Version,
        "jobs": Jobs,
    }
