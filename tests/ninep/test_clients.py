"""Clients that were not written here, each in a process of its own, on a server in this one."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Any
from unittest import SkipTest

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from jobd.ninep.files import Filesystem
from jobd.ninep.protocol import NinepFactory
from tests.clients.environment import require
from tests.ninep.trees import UnixDirectory

P9FS = """
import sys
import p9fs

version = sys.argv[2]
fs = p9fs.P9FileSystem("127.0.0.1", int(sys.argv[1]), "me", version=version)
names = lambda: sorted(name.strip("/") for name in fs.ls("", detail=False))
print(names())
print(fs.cat_file("hello"))
print(fs.info("hello")["size"])
with fs.open("new", "wb") as file:
    file.write(b"x" * 20000)
assert fs.cat_file("new") == b"x" * 20000
fs.mkdir("made")
print(fs.isdir("made"), fs.exists("nope"))
fs.rm("new")
if version != "9P2000.L":  # there it asks for unlink(2), which is for files
    fs.rmdir("made")
    assert names() == ["hello", "sub"]
"""

P9FS_SAYS = """['hello', 'sub']
b'hello, world\\n'
13
True False
"""

PYTHON_9P = """
import sys
from py9p.client import Client

with Client.connect_tcp("127.0.0.1", int(sys.argv[1])) as client:
    client.negotiate()
    client.attach(0, uname="me")
    client.walk(0, 1, "hello")
    client.open(1, 2)
    print(client.read(1))
    print(client.write(1, b"HELLO"))
    print(client.read(1, 5, 0))
    print(client.stat(1).name)
    client.clunk(1)
    try:
        client.walk(0, 2, "nope")
    except Exception as error:
        print(error)
    client.walk(0, 3, "sub")
    client.create(3, "made", 0o644, 1)
    client.write(3, b"data")
    client.remove(3)
"""

PYTHON_9P_SAYS = """b'hello, world\\n'
5
b'HELLO'
hello
file not found
"""


class ClientTests(TestCase):
    async def setUp(self) -> None:
        root = UnixDirectory(None, "/", 0o777)
        _, opened = root.create("hello", 0o666, 1, None)
        opened.write(0, b"hello, world\n")
        root.mkdir("sub", 0o777, None)
        self.factory = NinepFactory(Filesystem(root))
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(self.factory)
        self.port = str(port.getHost().port)
        self.environment = dict(os.environ)
        self.addCleanup(port.stopListening)

    async def run_client(self, *command: str) -> str:
        """What COMMAND prints; it must end with status 0."""
        out, err, status = await getProcessOutputAndValue(command[0], command[1:], env=self.environment)
        self.assertEqual(status, 0, (out + err).decode())
        return out.decode()

    async def python(self, package: str, script: str, *arguments: str) -> str:
        self.environment["PYTHONPATH"] = str(require(package))
        return await self.run_client(sys.executable, "-c", script, self.port, *arguments)

    async def test_p9fs(self) -> None:
        """p9fs lists, reads, writes and removes, in each dialect."""
        for version in ("9P2000", "9P2000.u", "9P2000.L"):
            self.assertEqual(await self.python("p9fs", P9FS, version), P9FS_SAYS, version)

    async def test_python_9p(self) -> None:
        """python-9p, which is plan9port's C code, reads, writes, creates and removes."""
        self.assertEqual(await self.python("python-9p", PYTHON_9P), PYTHON_9P_SAYS)

    async def diod(self, name: str, *arguments: Any) -> str:
        program = shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
        if program is None:
            raise SkipTest(f"{name} is not installed")
        return await self.run_client(program, "-s", f"127.0.0.1:{self.port}", "-a", "/", *arguments)

    async def test_diodls(self) -> None:
        """diodls lists a directory."""
        self.assertEqual((await self.diod("diodls", "/")).split(), ["hello", "sub"])

    async def test_diodcat(self) -> None:
        """diodcat prints a file."""
        self.assertEqual(await self.diod("diodcat", "hello"), "hello, world\n")

    async def test_plan9port(self) -> None:
        """plan9port's 9p lists, reads, writes, creates and removes."""
        program = shutil.which("9p")
        if program is None:
            raise SkipTest("plan9port is not installed")

        async def ninep(*arguments: str) -> str:
            # It reads its input to the end, also where it needs none.
            script = 'printf "HELLO" | exec "$@"'
            address = f"tcp!127.0.0.1!{self.port}"
            return await self.run_client("/bin/sh", "-c", script, "9p", program, "-a", address, *arguments)

        self.assertEqual((await ninep("ls", "/")).split(), ["hello", "sub"])
        self.assertEqual(await ninep("read", "hello"), "hello, world\n")
        await ninep("write", "hello")
        self.assertEqual(await ninep("read", "hello"), "HELLO")
        self.assertIn("'hello'", await ninep("stat", "hello"))
        await ninep("create", "sub/made")
        self.assertEqual((await ninep("ls", "sub")).split(), ["made"])
        await ninep("rm", "sub/made")
        self.assertEqual(await ninep("ls", "sub"), "")
