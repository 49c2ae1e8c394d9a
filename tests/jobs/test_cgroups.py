"""Control groups keep what a run starts together."""

from __future__ import annotations

import os
import secrets
import subprocess
import time

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from jobd.jobs.cgroups import SWEPT_AT_A_TIME, Cgroups
from jobd.jobs.groups import identify
from jobd.jobs.proctable import MachineProcesses


class FindTests(SynchronousTestCase):
    """Where groups are made, from what /proc says."""

    def find(self, mountinfo: str, cgroup: str) -> Cgroups | None:
        proc = self.mktemp()
        os.makedirs(proc)
        for name, text in (("mountinfo", mountinfo), ("cgroup", cgroup)):
            with open(os.path.join(proc, name), "w") as file:
                file.write(text)
        return Cgroups.find(proc)

    def test_none(self) -> None:
        """There are none without a mount of cgroup v2, with one that can't be written, and without /proc."""
        v1 = "30 20 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
        self.assertIsNone(self.find(v1, "1:cpu:/\n0::/\n"))
        self.assertIsNone(self.find("30 20 0:26 / /proc rw - cgroup2 cgroup2 rw\n", "0::/\n"))
        self.assertIsNone(Cgroups.find("/no/such"))

    def test_not_a_cgroup(self) -> None:
        """A directory that isn't one of cgroup v2's, or is an old kernel's, is not used."""
        place = os.path.abspath(self.mktemp())
        os.makedirs(os.path.join(place, "system", "jobd.service"))
        mountinfo = f"30 20 0:26 / {place} rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
        self.assertIsNone(self.find(mountinfo, "0::/system/jobd.service\n"))
        self.assertTrue(os.path.isdir(os.path.join(place, "system", "jobd.service", "jobd")))


class CgroupTests(SynchronousTestCase):
    """Real groups, where this machine has them."""

    def setUp(self) -> None:
        cgroups = Cgroups.find()
        if cgroups is None:
            raise SkipTest("no cgroup v2 in which groups can be made")
        self.cgroups = cgroups
        self.run_id = secrets.token_hex(16)

    def test_what_escapes_everything_else(self) -> None:
        """A process with no parent, no mark and a session of its own is in the group, and ends with it."""
        script = "read go; env -i /usr/bin/setsid /bin/sh -c '/bin/sleep 600 >/dev/null & echo $!'"
        process = subprocess.Popen(
            ["/bin/sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self.addCleanup(process.wait)
        self.assertTrue(self.cgroups.add(self.run_id, process.pid))
        output, _ = process.communicate(b"\n")
        self.assertEqual(self.cgroups.members(self.run_id), {int(output)})
        self.assertFalse(self.cgroups.remove(self.run_id))
        self.cgroups.kill(self.run_id)
        while self.cgroups.members(self.run_id):
            time.sleep(0.01)
        while not self.cgroups.remove(self.run_id):
            time.sleep(0.01)

    def test_leader(self) -> None:
        """The first process of a run is found by its group where it has dropped the mark."""
        process = subprocess.Popen(
            ["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env={}, start_new_session=True
        )
        self.addCleanup(process.communicate)
        self.assertTrue(self.cgroups.add(self.run_id, process.pid))
        found = MachineProcesses(None, lambda *_: None, self.cgroups).leaders()[self.run_id]
        self.assertEqual(found, identify(process.pid))
        self.cgroups.kill(self.run_id)
        process.wait()
        while not self.cgroups.remove(self.run_id):
            time.sleep(0.01)

    def test_left_behind(self) -> None:
        """A group that somebody stayed in is removed when the last has ended, by the next daemon too."""
        for later in (self.cgroups, None):
            process = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE)
            self.addCleanup(process.communicate)
            self.assertTrue(self.cgroups.add(self.run_id, process.pid))
            if later is None:
                later = Cgroups.find()
                assert later is not None
            else:
                self.assertFalse(later.remove(self.run_id))
            left = len(later._left)
            while left > 0:
                later.sweep()
                left -= SWEPT_AT_A_TIME
            self.assertEqual(self.cgroups.members(self.run_id), {process.pid})
            process.communicate()
            deadline = time.monotonic() + 60
            while self.run_id in self.cgroups.run_ids() and time.monotonic() < deadline:
                later.sweep()
            self.assertNotIn(self.run_id, self.cgroups.run_ids())

    def test_no_group(self) -> None:
        """A run without a group has no members, and ending or removing it does nothing."""
        self.assertEqual(self.cgroups.members(self.run_id), set())
        self.cgroups.kill(self.run_id)
        self.assertTrue(self.cgroups.remove(self.run_id))

    def test_a_process_that_is_gone(self) -> None:
        """A process that ended can't be put into a group any more."""
        process = subprocess.Popen(["/bin/true"])
        process.wait()
        self.assertFalse(self.cgroups.add(self.run_id, process.pid))
        self.assertTrue(self.cgroups.remove(self.run_id))
