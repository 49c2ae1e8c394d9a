"""A file that tells the time: python examples/clock.py [ENDPOINT]."""

import sys
import time

from twisted.internet import endpoints, reactor

from jobd.ninep.files import Directory, Filesystem, TextFile
from jobd.ninep.protocol import NinepFactory

root = Directory()
root.children.add(TextFile(root, "time", lambda: time.ctime() + "\n"))
root.children.add(TextFile(root, "seconds", lambda: f"{time.time():.0f}\n"))

if __name__ == "__main__":
    endpoint = endpoints.serverFromString(reactor, (sys.argv[1:] or ["tcp:5640:interface=127.0.0.1"])[0])
    endpoint.listen(NinepFactory(Filesystem(root)))
    reactor.run()
