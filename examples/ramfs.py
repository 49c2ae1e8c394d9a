"""A file system in memory that anyone may write to: python examples/ramfs.py [ENDPOINT]."""

import sys

from twisted.internet import endpoints, reactor

from jobd.ninep.files import BytesFile, Changeable, Directory, Filesystem
from jobd.ninep.protocol import NinepFactory


class RamFile(Changeable, BytesFile):
    pass


class RamDirectory(Changeable, Directory):
    def create(self, name, perm, mode, gid):
        file = self.children.add(RamFile(self, name, perm))
        return file, file.open(mode)

    def mkdir(self, name, perm, gid):
        return self.children.add(RamDirectory(self, name, perm))


if __name__ == "__main__":
    endpoint = endpoints.serverFromString(reactor, (sys.argv[1:] or ["tcp:5640:interface=127.0.0.1"])[0])
    endpoint.listen(NinepFactory(Filesystem(RamDirectory(None, "/", 0o777))))
    reactor.run()
