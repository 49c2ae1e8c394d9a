"""A web server with jobs of its own: python examples/shop.py DIRECTORY

Orders come in by the web, and a job ships them in the evening; another job is a command.  All jobs are files
too, so that whoever runs the shop can look at them, change them, and make more:

    $ curl -d tea http://127.0.0.1:8080/
    $ sudo mount -t 9p -o trans=tcp,port=5640 127.0.0.1 /mnt
    $ echo run > /mnt/jobs/ship/ctl; cat /mnt/jobs/ship/log
    $ echo 'often:@every 10s:@call ship' > /mnt/clone
"""

import sys

from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import deferLater, react
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import Site

from jobd import JobService

WEB = "tcp:8080:interface=127.0.0.1"
FILES = "tcp:5640:interface=127.0.0.1"
JOBS = [
    ("ship", "0 18 * * MON-FRI", "@call ship", {"timezone": "Europe/Berlin", "retries": 2, "timeout": "1h"}),
    ("tidy", "@daily", "find /var/tmp/shop -mtime +7 -delete", {"nice": 10}),
]


class Shop(MultiService):
    """The program: its pages, its jobs, and the jobs as files."""

    log = Logger()

    def __init__(self, reactor, jobs, web=WEB, files=FILES):
        super().__init__()
        self.reactor = reactor
        self.jobs = jobs.jobs
        self.orders = []
        jobs.register("ship", self.ship)
        jobs.setServiceParent(self)
        for address, factory in ((web, Site(Page(self))), (files, jobs.factory())):
            endpoint = serverFromString(reactor, address)
            StreamServerEndpointService(endpoint, factory).setServiceParent(self)

    def startService(self):
        super().startService()
        self.ready = gatherResults([self.jobs.ensure(*job) for job in JOBS], consumeErrors=True)
        self.ready.addErrback(lambda why: self.log.failure("not all jobs are there", why))
        self.jobs.subscribe(self.told)

    def told(self, run):
        if run.outcome not in (None, "ok"):
            self.log.error("run {run.number} of {run.job}: {run.outcome} {run.detail}", run=run)

    async def ship(self, call):
        """A job: send what was ordered, an order a second."""
        while self.orders:
            await deferLater(self.reactor, 1)
            if self.orders[0] == "moon":
                raise ValueError("nothing is sent to the moon")
            print("shipped", self.orders.pop(0), file=call)


class Page(Resource):
    """The one page: what is still to be shipped, and when each job runs; a POST orders."""

    isLeaf = True

    def __init__(self, shop):
        super().__init__()
        self.shop = shop

    def render_GET(self, request):
        lines = self.shop.orders + [f"{job.name} runs at {job.next}" for job in self.shop.jobs]
        return "".join(f"{line}\n" for line in lines).encode()

    def render_POST(self, request):
        self.shop.orders.append(request.content.read().decode())
        return b"thank you\n"


def main(reactor, directory):
    shop = Shop(reactor, JobService(reactor, directory))
    shop.startService()
    reactor.addSystemEventTrigger("before", "shutdown", shop.stopService)
    return Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
