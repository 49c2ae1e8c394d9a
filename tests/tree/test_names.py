"""The name space as it is walked, listed and looked at."""

from __future__ import annotations

import errno

from jobd.ninep.interfaces import DMAPPEND, DMDIR, DMSETVTX, OWRITE, QTDIR, SetStat
from tests.tree import SELF, TreeTest, in_each_dialect

FILES = ["clone", "ctl", "error", "events", "metrics", "version", "jobs"]
JOB_FILES = ["ctl", "cmd", "schedule", "log", "options", "status", "next", "history", "runs"]
RUN_FILES = ["output", "status", "env", "wait"]

MODES = {
    "/": DMDIR | 0o755,
    "/clone": 0o666,
    "/ctl": 0o644,
    "/error": 0o444,
    "/events": DMAPPEND | 0o444,
    "/metrics": 0o444,
    "/version": 0o444,
    "/jobs": DMDIR | DMSETVTX | 0o777,
    "/jobs/hello": DMDIR | 0o711,
    "/jobs/hello/ctl": 0o644,
    "/jobs/hello/cmd": 0o600,
    "/jobs/hello/schedule": 0o644,
    "/jobs/hello/log": DMAPPEND | 0o400,
    "/jobs/hello/options": 0o600,
    "/jobs/hello/status": 0o444,
    "/jobs/hello/next": 0o444,
    "/jobs/hello/history": 0o444,
    "/jobs/hello/runs": DMDIR | 0o500,
    "/jobs/hello/runs/1": DMDIR | 0o500,
    "/jobs/hello/runs/1/output": 0o400,
    "/jobs/hello/runs/1/status": 0o400,
    "/jobs/hello/runs/1/env": 0o400,
    "/jobs/hello/runs/1/wait": 0o400,
}


@in_each_dialect
class NamesTest(TreeTest):
    """Names and attributes."""

    def setUp(self) -> None:
        super().setUp()
        self.make()

    def run_once(self) -> None:
        self.write("/jobs/hello/ctl", "run")
        self.jobd.spawner.running[0].print(b"hello world\n")
        self.jobd.spawner.running[0].exit()

    def test_listings(self) -> None:
        """Every directory lists what the name space promises, in one order."""
        self.run_once()
        self.assertEqual(self.names("/"), FILES)
        self.assertEqual(self.names("/jobs"), ["hello"])
        self.assertEqual(self.names("/jobs/hello"), JOB_FILES)
        self.assertEqual(self.names("/jobs/hello/runs"), ["1"])
        self.assertEqual(self.names("/jobs/hello/runs/1"), RUN_FILES)

    def test_modes(self) -> None:
        """Each file has the mode of the table, the owner of its job, and a qid that agrees with its stat."""
        self.run_once()
        for path, mode in MODES.items():
            fid = self.successResultOf(self.client.walk(path))
            stat = self.successResultOf(fid.stat())
            shown = mode if self.version != "9P2000.L" else mode & ~DMAPPEND
            self.assertEqual((path, oct(stat.mode)), (path, oct(shown)))
            self.assertEqual(stat.qid, fid.qid, path)
            self.assertEqual(bool(stat.qid.type & QTDIR), bool(mode & DMDIR), path)
            if self.version != "9P2000.L":
                self.assertEqual((stat.uid, stat.muid), (SELF.name, SELF.name), path)
            if self.version != "9P2000":
                self.assertEqual((stat.n_uid, stat.n_gid), (SELF.uid, SELF.gid), path)

    def test_lengths(self) -> None:
        """The length that stat gives is that of the text, of `wait` and of directories 0."""
        self.run_once()
        for path, mode in MODES.items():
            if mode & DMDIR or path.endswith("/wait"):
                self.assertEqual(self.length(path), 0, path)
            else:
                self.assertEqual(len(self.read(path)), self.length(path), path)

    def test_nothing_there(self) -> None:
        """What is not there is ENOENT, and a file is no directory."""
        for path in (
            "/nothing",
            "/jobs/nothing",
            "/jobs/hello/nothing",
            "/jobs/hello/runs/1",
            "/jobs/hello/runs/x",
        ):
            self.refused(errno.ENOENT, self.client.walk(path))
        for name in ("01", "0", "-1", "1000000000000", "٣"):
            self.refused(errno.ENOENT, self.client.walk(f"/jobs/hello/runs/{name}"))
        ctl = self.successResultOf(self.client.walk("/ctl"))
        self.refused(errno.ENOTDIR, ctl.walk("x"))

    def test_version(self) -> None:
        """`version` is one line."""
        self.assertRegex(self.read("/version"), r"\Ajobd \S+\n\Z")

    def test_root_files_are_fixed(self) -> None:
        """Nothing can be made, removed or renamed beside the jobs, and `/error` says why."""
        root = self.successResultOf(self.client.walk("/"))
        self.refused(errno.EPERM, root.create("new"))
        root = self.successResultOf(self.client.walk("/"))
        self.refused(errno.EPERM, root.mkdir("new"))
        self.refused(errno.EPERM, self.client.remove("/ctl"))
        self.refused(errno.EPERM, self.rename("/ctl", "ctl2"))
        self.refused(errno.EPERM, self.client.remove("/jobs"))
        self.assertEqual(
            [line.split(":")[0] for line in self.errors()], ["/new", "/new", "/ctl", "/ctl", "/jobs"]
        )

    def test_a_jobs_files_are_fixed(self) -> None:
        """A job's own files can't be made, removed, renamed or replaced: EPERM, as in cgroupfs."""
        directory = self.successResultOf(self.client.walk("/jobs/hello"))
        self.refused(errno.EPERM, directory.create("sedXYZ"))
        self.refused(errno.EPERM, self.client.mkdir("/jobs/hello/sub"))
        self.refused(errno.EPERM, self.client.remove("/jobs/hello/cmd"))
        self.refused(errno.EPERM, self.rename("/jobs/hello/cmd", "log"))
        self.refused(errno.EPERM, self.rename("/jobs/hello/cmd", "cmd~"))
        self.assertEqual(self.names("/jobs/hello"), JOB_FILES)

    def test_attributes_of_files(self) -> None:
        """Of a file only a change that changes nothing is accepted; cutting it to 0 is, and does nothing."""
        cmd = "/jobs/hello/cmd"
        stat = self.successResultOf(self.client.stat(cmd))
        for changes in (
            SetStat(mode=0o600),
            SetStat(length=0),
            SetStat(length=stat.length),
            SetStat(length=0, mtime=1.0),
            SetStat(atime=1.0, mtime=2.0),
        ):
            self.successResultOf(self.client.set_stat(cmd, changes))
        for changes, number in (
            (SetStat(mode=0o644), errno.EPERM),
            (SetStat(length=3), errno.EINVAL),
            (SetStat(length=1000), errno.EINVAL),
        ):
            self.refused(number, self.client.set_stat(cmd, changes))
        self.refused(errno.EINVAL, self.client.set_stat("/jobs/hello/status", SetStat(length=0)))
        if self.version != "9P2000":
            self.successResultOf(self.client.set_stat(cmd, SetStat(uid=SELF.uid, gid=SELF.gid)))
            self.refused(errno.EPERM, self.client.set_stat(cmd, SetStat(uid=SELF.uid + 1)))
            self.refused(errno.EPERM, self.client.set_stat(cmd, SetStat(gid=SELF.gid + 1)))
        self.assertEqual(self.read(cmd), "echo hello world\n")
        self.assertEqual(self.successResultOf(self.client.stat(cmd)), stat)

    def test_read_only_files(self) -> None:
        """What can only be read can't be opened for writing, by root as little as by anyone."""
        for name in ("log", "status", "next", "history"):
            self.refused(errno.EACCES, self.client.open(f"/jobs/hello/{name}", OWRITE))
        self.assertEqual(self.errors()[-1], "/jobs/hello/history: it can only be read")

    def test_qid_paths(self) -> None:
        """No two files have one qid path, none is ever used again, and a rename keeps it."""
        self.run_once()
        paths = {path: self.successResultOf(self.client.walk(path)).qid.path for path in MODES}
        self.assertEqual(len(set(paths.values())), len(paths))
        self.assertEqual(
            {path: self.successResultOf(self.client.walk(path)).qid.path for path in MODES}, paths
        )
        self.successResultOf(self.client.rename("/jobs/hello", "/jobs/other"))
        for path, qid_path in paths.items():
            renamed = path.replace("hello", "other")
            self.assertEqual(self.successResultOf(self.client.walk(renamed)).qid.path, qid_path)
        self.successResultOf(self.client.remove("/jobs/other"))
        self.make()
        self.run_once()
        again = {path: self.successResultOf(self.client.walk(path)).qid.path for path in MODES}
        self.assertEqual(
            {path for path in MODES if again[path] in paths.values()},
            {*MODES} - {path for path in MODES if path.startswith("/jobs/")},
        )

    def test_qid_versions(self) -> None:
        """A change of a file's contents makes its qid's version greater, not that of what stays as it was."""

        def versions() -> dict[str, int]:
            return {
                path: self.successResultOf(self.client.walk(path)).qid.version
                for path in MODES
                if "/runs" not in path
            }

        before = versions()
        self.write("/jobs/hello/cmd", "echo changed\n")
        after = versions()
        for path in ("/jobs", "/jobs/hello/cmd", "/events"):
            self.assertGreater(after[path], before[path], path)
        for path in ("/", "/clone", "/error", "/version", "/jobs/hello/log"):
            self.assertEqual(after[path], before[path], path)
        self.run_once()
        before, after = after, versions()
        for path in ("history", "status", "log"):
            self.assertGreater(after[f"/jobs/hello/{path}"], before[f"/jobs/hello/{path}"], path)
        self.assert_refused(errno.EINVAL, "/ctl", "nonsense")
        self.assertGreater(versions()["/error"], after["/error"])

    def test_times(self) -> None:
        """The time of a file is that of its last change, whatever else changed since."""

        def time(path: str) -> float:
            return self.successResultOf(self.client.stat(path)).mtime

        begin = time("/jobs/hello/cmd")
        self.assertEqual(begin, self.jobd.clock.seconds())
        self.jobd.clock.pass_time(100)
        self.write("/jobs/hello/cmd", "echo changed\n")
        self.assertEqual((time("/jobs/hello/cmd"), time("/jobs/hello"), time("/jobs")), (begin + 100,) * 3)
        self.assertEqual((time("/clone"), time("/version"), time("/error")), (begin,) * 3)
        self.jobd.clock.pass_time(100)
        self.run_once()
        for path in ("status", "history", "runs", "runs/1", "runs/1/status"):
            self.assertEqual(time(f"/jobs/hello/{path}"), begin + 200, path)
        self.assertEqual(time("/jobs/hello/cmd"), begin + 100)
        self.jobd.clock.pass_time(100)
        self.assert_refused(errno.EINVAL, "/ctl", "nonsense")
        self.assertEqual((time("/error"), time("/ctl"), time("/metrics")), (begin + 300,) * 3)


class StatfsTest(TreeTest):
    """What only 9P2000.L has."""

    def test_type(self) -> None:
        """The file system calls itself FUSE's, which GNU tail polls."""
        statfs = self.successResultOf(self.successResultOf(self.client.walk("/")).statfs())
        self.assertEqual(statfs.type, 0x65735546)
