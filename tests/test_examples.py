"""The examples for those who embed jobd, and the page that shows them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
from io import BytesIO
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import Agent, FileBodyProducer, readBody
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from examples.shop import Shop
from examples.test_shop import ShopTest
from jobd import JobService
from jobd.ninep.client import connect

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/howto/embed.md"
__all__ = ["LoopbackTest", "PageTest", "SchedulerTest", "ShopTest"]


class SchedulerTest(SynchronousTestCase):
    """The scheduler without files."""

    def test_as_a_program(self) -> None:
        """It runs its jobs, tells of them, and ends by itself."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TZ": "Europe/Berlin"}
        done = subprocess.run(
            [sys.executable, ROOT / "examples/scheduler.py"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        for line in ("greeting 1: ok\n", "hello from run 1, for 20", "uptime 1: ok\n", "exit 0, after 0:00:"):
            self.assertIn(line, done.stdout)
        self.assertIn("schedule: minute '61': '61' is out of range", done.stdout)


@implementer(IAgentEndpointFactory)
class ToSocket:
    """Has an `Agent` connect to a unix socket, whatever the URL."""

    def __init__(self, path: str) -> None:
        self._path = path

    def endpointForURI(self, uri: object) -> Any:
        return UNIXClientEndpoint(reactor, self._path)


class LoopbackTest(TestCase):
    """The shop as it is, on sockets."""

    async def test_web_and_files(self) -> None:
        """What is ordered by the web is shipped by who writes `run` into a file, and kept in the history."""
        # A short path: that of a unix socket may have 107 bytes.
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        web, files = f"{directory.name}/web", f"{directory.name}/files"
        jobs = JobService(reactor, f"{directory.name}/jobs", zone="UTC")
        shop = Shop(reactor, jobs, f"unix:{web}", f"unix:{files}")
        shop.startService()
        self.addCleanup(shop.stopService)
        await shop.ready
        agent = Agent.usingEndpointFactory(reactor, ToSocket(web))
        ordered = await agent.request(
            b"POST", b"http://shop/", bodyProducer=FileBodyProducer(BytesIO(b"tea"))
        )
        self.assertEqual(await readBody(ordered), b"thank you\n")
        page = await readBody(await agent.request(b"GET", b"http://shop/"))
        self.assertRegex(page.decode(), r"^tea\nship runs at 20\d\d-\d\d-\d\d 1[67]:00:00\+00:00\n")
        client = await connect(UNIXClientEndpoint(reactor, files))
        ctl = await client.open("/jobs/ship/ctl", 2)
        await ctl.write(0, b"run")
        self.assertEqual(await ctl.read(0), b"1\n")
        self.assertIn(b"outcome=ok", await client.read_file("/jobs/ship/runs/1/wait"))
        self.assertEqual(await client.read_file("/jobs/ship/runs/1/output"), b"shipped tea\n")
        self.assertEqual(shop.orders, [])
        client.disconnect()


class PageTest(SynchronousTestCase):
    """docs/howto/embed.md."""

    def test_code_is_of_the_examples(self) -> None:
        """Each block of code is to be found in a file of examples/, as it stands."""
        examples = [path.read_text().splitlines() for path in sorted((ROOT / "examples").glob("*.py"))]
        found = blocks(PAGE.read_text())
        self.assertGreater(len(found), 10)
        for block in found:
            shown = any(contains(lines, block) for lines in examples)
            self.assertTrue(shown, f"no example has:\n{block}")


def blocks(page: str) -> list[str]:
    """The paragraphs of all code in a page, without their indent."""
    found: list[list[str]] = [[]]
    for line in page.splitlines():
        if line.startswith("    ") or (not line and found[-1]):
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    texts = ["\n".join(lines).strip("\n") for lines in found if lines]
    parts = [part for text in texts for part in textwrap.dedent(text).split("\n\n")]
    return [part for part in parts if part.strip()]


def contains(lines: list[str], block: str) -> bool:
    """Whether LINES have BLOCK, at whatever depth."""
    size = block.count("\n") + 1
    wanted = textwrap.dedent(block)
    return any(
        textwrap.dedent("\n".join(lines[start : start + size])) == wanted
        for start in range(len(lines) - size + 1)
    )
