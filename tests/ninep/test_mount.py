"""The example file systems, mounted by a Linux kernel, in each dialect that it speaks."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.trial.unittest import TestCase

from examples.clock import root as clock
from examples.ramfs import RamDirectory
from jobd.ninep.files import Filesystem
from jobd.ninep.protocol import NinepFactory
from tests import guest

RAMFS = """
set -e
echo hello > a; cat a
echo more >> a; wc -l < a
mkdir d; mv a d/b 2>/dev/null || { cp a d/b; rm a; }
ls -A . d
chmod 600 d/b; stat -c '%a %s' d/b
truncate -s 3 d/b; cat d/b; echo
rmdir d 2>/dev/null || echo not empty
dd if=/dev/urandom of=/tmp/large bs=1000 count=300 2>/dev/null
cp /tmp/large large; cmp large /tmp/large && echo same
dd if=/dev/zero of=synced bs=10 count=1 conv=fsync 2>/dev/null; wc -c < synced
for n in 1 2 3 4 5 6 7 8 9; do : > d/file$n; done; ls d | wc -l
cat nothing 2>/dev/null || echo nothing
rm -r d large synced; ls -A
"""

RAMFS_SAYS = """hello
2
.:
d

d:
b
600 11
hel
not empty
same
10
10
nothing
"""


class MountTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        guest.require()

    async def on_mount(self, root: Any, script: str, options: str) -> str:
        """What SCRIPT prints on a mount of the tree under ROOT."""
        server = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        port = await server.listen(NinepFactory(Filesystem(root)))
        self.addCleanup(port.stopListening)
        result = await guest.run_in_thread(script, port.getHost().port, options)
        self.assertEqual((result.status, result.stderr), (0, ""))
        return str(result.stdout)

    async def check_ramfs(self, options: str) -> None:
        self.assertEqual(await self.on_mount(RamDirectory(None, "/", 0o777), RAMFS, options), RAMFS_SAYS)

    async def test_linux(self) -> None:
        """The ram file system does what a shell asks, in 9P2000.L, the kernel's default."""
        await self.check_ramfs("")

    async def test_unix(self) -> None:
        """The same in 9P2000.u."""
        await self.check_ramfs("version=9p2000.u")

    async def test_plain(self) -> None:
        """The same in 9P2000, with messages of 4 KiB."""
        await self.check_ramfs("version=9p2000,msize=4096")

    async def test_clock(self) -> None:
        """The clock tells the time."""
        said = await self.on_mount(clock, 'test "$(cat seconds)" -gt 1000000000 && cat time | wc -l', "")
        self.assertEqual(said, "1\n")
