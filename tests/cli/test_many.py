"""Many jobs at one time."""

from __future__ import annotations

import io

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.trial.unittest import SynchronousTestCase

from jobd.cli import many
from jobd.cli.definition import Definition, write_definitions
from tests.cli.support import Here


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class ManyTests(SynchronousTestCase):
    """More jobs than are asked for at one time."""

    def test_jobs(self) -> None:
        """They are all made, listed in the order of their names, and exported as they were."""
        jobctl = Here(self)
        jobs = [
            Definition(f"job-{number:03}", "@daily", f"echo {number}") for number in range(many.AT_ONCE + 50)
        ]
        text = write_definitions(jobs)
        self.assertEqual(jobctl("import", "-", input=text).exit_code, 0)
        listed = [line.split()[0] for line in jobctl("ls").stdout.splitlines()[1:]]
        self.assertEqual(listed, [job.name for job in jobs])
        exported = "".join(
            line for line in jobctl("export").stdout.splitlines(keepends=True) if line[:6] != "owner "
        )
        self.assertEqual(exported, text)

    def test_window(self) -> None:
        """So many are under way and no more; when one is done, in whatever order, the next begins."""
        asked: dict[int, Deferred[int]] = {}

        def work(item: int) -> Deferred[int]:
            asked[item] = Deferred()
            return asked[item]

        count = many.AT_ONCE + 2
        found = Deferred.fromCoroutine(many.at_once(work, range(count)))
        self.assertEqual(len(asked), many.AT_ONCE)
        asked[7].callback(7)
        self.assertEqual(len(asked), many.AT_ONCE + 1)
        for item in [item for item in range(count) if item != 7]:
            asked[item].callback(item)
        self.assertEqual(self.successResultOf(found), list(range(count)))

    def test_failure(self) -> None:
        """What ends them all, such as the loss of the connection, is raised once, as it is."""
        asked: list[Deferred[None]] = []

        def work(_: int) -> Deferred[None]:
            asked.append(Deferred())
            return asked[-1]

        found = Deferred.fromCoroutine(many.at_once(work, range(3)))
        for each in asked:
            each.errback(ConnectionLost())
        self.failureResultOf(found, ConnectionLost)

    def progress(self, label: str, patience: float) -> str:
        """What is said on a terminal meanwhile."""
        terminal = Terminal()
        self.patch(many.sys, "stderr", terminal)
        self.patch(many, "_PATIENCE", patience)
        done: Deferred[None] = Deferred()
        done.callback(None)

        async def work(_: int) -> None:
            await done

        self.successResultOf(Deferred.fromCoroutine(many.at_once(work, range(20), label)))
        return terminal.getvalue()

    def test_progress(self) -> None:
        """A bar goes to its end where there is a label and it takes long; else nothing is said."""
        shown = self.progress("reading jobs", -1)
        self.assertIn("reading jobs", shown)
        self.assertIn("100%", shown)
        self.assertEqual((self.progress("reading jobs", 60), self.progress("", -1)), ("", ""))
