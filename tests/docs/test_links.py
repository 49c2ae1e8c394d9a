"""The links of README.md and of all pages, as a forge follows them."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.daemon import ROOT

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")]


def without_code(path: Path) -> str:
    """The page at PATH without its blocks of code."""
    return re.sub(r"^( *```+).*?^\1$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """The anchors of the page at PATH: its headings, as forges spell them."""
    headings = re.findall(r"^#+ (.*)$", without_code(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


class LinksTest(SynchronousTestCase):
    """Links within the repository."""

    def test_links(self) -> None:
        """Each link leads to a file that is there, and to a heading of it."""
        for page in PAGES:
            for link in re.findall(r"\]\(([^)\s]+)\)", without_code(page)):
                if re.match(r"[a-z]+:", link):
                    continue
                name, _, anchor = link.partition("#")
                target = (page.parent / name).resolve() if name else page
                self.assertTrue(target.is_relative_to(ROOT) and target.exists(), f"{page}: {link}")
                if anchor:
                    self.assertIn(anchor, anchors(target), f"{page}: {link}")

    def test_titles(self) -> None:
        """Each page of docs/ has one title, which is its first line."""
        for page in ROOT.glob("docs/**/*.md"):
            self.assertRegex(page.read_text(), r"\A# \S", page)
            self.assertEqual(len(re.findall(r"^# ", without_code(page), re.MULTILINE)), 1, page)
