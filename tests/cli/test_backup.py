"""`jobctl backup`."""

from __future__ import annotations

import os
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from jobd.jobs.store import Store
from tests.cli.support import run


class BackupTests(SynchronousTestCase):
    def test_copy(self) -> None:
        """It needs no daemon, makes the copy, and refuses to make it twice with a sentence."""
        with tempfile.TemporaryDirectory() as parent:
            state, target = os.path.join(parent, "state"), os.path.join(parent, "target")
            Store.open(state).close()
            result = run("backup", "--dbdir", state, target)
            self.assertEqual((result.exit_code, result.output), (0, ""))
            self.assertEqual(sorted(os.listdir(target)), ["jobd.db", "output"])
            result = run("backup", "--dbdir", state, target)
            self.assertEqual((result.exit_code, result.output), (1, f"jobctl: {target} exists already\n"))
