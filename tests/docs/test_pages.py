"""README.md, the tutorial and the how-to pages do what they show."""

from __future__ import annotations

import shutil
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import ROOT
from tests.docs.page import Block, read_page
from tests.docs.walk import Walk

# What no test runs. Why not stands beside it in the page.
NOT_RUN = {
    "README": ["python3 -m venv .venv && .venv/bin/pip install ."],
    "tutorial": ["python3 -m venv .venv", ".venv/bin/pip install ."],
}


def pages() -> dict[str, list[Block]]:
    """README.md, the tutorial and each how-to page that shows commands, by name."""
    paths = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("docs/howto/*.md")]
    found = {path.stem: read_page(path) for path in paths}
    return {name: blocks for name, blocks in found.items() if any(block.commands for block in blocks)}


class WalkTest(SynchronousTestCase):
    """Each command of a page, in its order, prints what the page shows."""

    def test_readme(self) -> None:
        """README.md, from a shell that doesn't know jobd yet."""
        Walk(self, ROOT / "README.md", installed=False).go()

    def test_tutorial(self) -> None:
        """docs/tutorial.md, from a shell that doesn't know jobd yet."""
        Walk(self, ROOT / "docs/tutorial.md", installed=False).go()


class MarksTest(SynchronousTestCase):
    """What the walks leave out."""

    def test_no_page_is_left_out(self) -> None:
        """There is a walk through each page."""
        walks = {name.removeprefix("test_") for name in dir(WalkTest) if name.startswith("test_")}
        self.assertEqual({name.lower() for name in pages()} - walks, set())

    def test_not_run(self) -> None:
        """Only the commands of NOT_RUN are never run, and their pages say why."""
        found = {}
        for name, blocks in pages().items():
            marked = [block for block in blocks if "not run" in block.marks]
            self.assertNotIn("", [block.marks["not run"] for block in marked], name)
            if marked:
                found[name] = [command.text for block in marked for command in block.commands]
        self.assertEqual(found, NOT_RUN)

    def test_programs(self) -> None:
        """The programs are here without which a walk leaves some commands out."""
        for name, blocks in pages().items():
            for block in blocks:
                program = block.marks.get("needs")
                if program is not None and shutil.which(program) is None:
                    raise SkipTest(f"{name}, line {block.line}, needs {program}")
