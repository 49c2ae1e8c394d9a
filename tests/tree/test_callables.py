"""Jobs that are Python callables, met through the files."""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet.defer import Deferred

from jobd.access import User
from jobd.ninep.interfaces import OWRITE
from jobd.testing import MemoryJobd
from tests.tree import SELF, TreeTest, in_each_dialect


@in_each_dialect
class CallablesTest(TreeTest):
    """An application has registered `reindex`."""

    def setUp(self) -> None:
        super().setUp()
        self.gone: Deferred[Any] = Deferred()
        self.jobd = MemoryJobd(callables={"reindex": self.reindex})
        self.addCleanup(self.jobd.close)
        self.client = self.connect()

    def reindex(self, call: Any) -> Deferred[Any]:
        print("reindexing", call.scheduled, file=call)
        return self.gone

    def test_scheduled(self) -> None:
        """A line to clone schedules it, and its files tell of it as of any other job."""
        self.make("nightly", "@daily", "@call reindex\n")
        self.write("/jobs/nightly/ctl", "start")
        self.assertEqual(self.read("/jobs/nightly/cmd"), "@call reindex\n")
        self.jobd.clock.advance(86400)
        self.assertEqual(self.read("/jobs/nightly/runs/1/output"), "reindexing 2026-01-02 00:00:00+00:00\n")
        self.assertIn(":reindexing 2026-01-02", self.read("/jobs/nightly/log"))
        self.assertIn("state=running\n", self.read("/jobs/nightly/runs/1/status"))
        self.assertNotIn("pid=", self.read("/jobs/nightly/runs/1/status"))
        self.assertEqual(self.read("/jobs/nightly/runs/1/env"), "argv0=@call\nargv1=reindex\ndirectory=''\n")
        wait = self.open("/jobs/nightly/runs/1/wait").read(0)
        self.assertNoResult(wait)
        self.gone.callback(None)
        self.assertIn(b" exit=0 outcome=ok ", self.successResultOf(wait))

    def test_killed(self) -> None:
        """`kill` cancels it; a signal that it can't have is refused with a sentence."""
        self.make("nightly", "@daily", "@call reindex")
        self.write("/jobs/nightly/ctl", "run")
        self.assert_refused(errno.EINVAL, "/jobs/nightly/ctl", "kill HUP")
        self.assertEqual(
            self.errors(),
            ["/jobs/nightly/ctl: run 1 is no process: kill alone cancels it, and kill KILL at once"],
        )
        self.write("/jobs/nightly/ctl", "kill")
        self.assertIn(" outcome=killed ", self.read("/jobs/nightly/history"))

    def test_refused(self) -> None:
        """A name that nobody registered is refused by the write, of `clone` and of `cmd`."""
        sentence = "command: no callable 'index' is registered; known: reindex"
        self.assert_refused(errno.EINVAL, "/clone", "nightly:@daily:@call index")
        self.make("nightly", "@daily", "true")
        fid = self.open("/jobs/nightly/cmd", OWRITE)
        self.refused(errno.EINVAL, fid.write(0, b"@call index\n"))
        self.successResultOf(fid.clunk())
        self.assertEqual(self.errors(), [f"/clone: {sentence}", f"/jobs/nightly/cmd: {sentence}"])
        self.assertEqual(self.read("/jobs/nightly/cmd"), "true\n")

    def test_in_pieces(self) -> None:
        """A call may be written in pieces, as any command."""
        self.make("nightly", "@daily", "true")
        fid = self.open("/jobs/nightly/cmd", OWRITE)
        for offset, piece in ((0, b"@ca"), (3, b"ll rein"), (10, b"dex\n")):
            self.successResultOf(fid.write(offset, piece))
        self.successResultOf(fid.clunk())
        self.assertEqual(self.read("/jobs/nightly/cmd"), "@call reindex\n")

    def test_of_another(self) -> None:
        """Another user's job can't call."""
        other = self.connect(User.by_name("nobody"))
        if SELF.uid != 0:
            self.assert_refused(errno.EACCES, "/clone", "theirs:@daily:@call reindex", other)
            return
        sentence = f"command: @call is for jobs of {SELF.name}, as whom jobd runs; this is nobody's"
        self.assert_refused(errno.EPERM, "/clone", "theirs:@daily:@call reindex", other)
        self.assertEqual(self.errors(other), [f"/clone: {sentence}"])
