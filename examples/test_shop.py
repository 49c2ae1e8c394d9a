"""How a program with jobs is tested: python -m twisted.trial examples.test_shop

No time passes, no process starts and nothing listens but what the test says.
"""

from twisted.trial.unittest import SynchronousTestCase

from examples.shop import Shop
from jobd.testing import MemoryJobd

HOUR = 3600


class ShopTest(SynchronousTestCase):
    """It is Thursday, 1 January 2026, 00:00 UTC."""

    def setUp(self):
        self.jobd = MemoryJobd(start=False)
        self.addCleanup(self.jobd.close)
        self.shop = Shop(self.jobd.clock, self.jobd.service)
        self.shop.startService()
        self.clock = self.jobd.clock

    def outcomes(self, job):
        return [run.outcome for run in self.jobd.jobs.history(job)]

    def test_evening(self):
        """What was ordered by 18:00 in Berlin is shipped then."""
        self.shop.orders += ["tea", "rice"]
        self.clock.advance(17 * HOUR)
        self.assertEqual(self.jobd.jobs.get("ship").running, (1,))
        self.clock.advance(2)
        self.assertEqual(self.outcomes("ship"), ["ok"])
        self.assertEqual(self.jobd.jobs.output("ship", 1), "shipped tea\nshipped rice\n")

    def test_retries(self):
        """An order that can't be sent is tried three times, and kept."""
        self.shop.orders += ["moon"]
        self.clock.advance(18 * HOUR)
        [run] = self.jobd.jobs.history("ship")
        self.assertEqual((run.outcome, run.attempts), ("failed", 3))
        self.assertEqual(run.detail, "ValueError: nothing is sent to the moon")
        self.assertEqual(self.shop.orders, ["moon"])

    def test_command(self):
        """The other job is a command; the test decides what it prints and how it ends."""
        self.successResultOf(self.jobd.jobs.run("tidy"))
        process = self.jobd.process("tidy")
        self.assertTrue(process.command.startswith("find /var/tmp/shop"))
        process.print("find: '/var/tmp/shop': No such file or directory\n")
        process.exit(1)
        self.assertEqual(self.outcomes("tidy"), ["failed"])

    def test_files(self):
        """Whoever runs the shop may ship at any time, through the files."""
        self.shop.orders += ["tea"]
        client = self.successResultOf(self.jobd.connect())
        self.successResultOf(client.write_file("/clone", b"often:@every 10s:@call ship"))
        self.successResultOf(client.write_file("/jobs/often/ctl", b"start"))
        self.clock.advance(11)
        self.assertIn(b"shipped tea", self.successResultOf(client.read_file("/jobs/often/log")))

    def test_crash(self):
        """What was being shipped when the program died is lost, and not shipped a second time."""
        self.shop.orders += ["tea"]
        self.clock.advance(17 * HOUR)
        self.jobd.crash()
        shop = Shop(self.clock, self.jobd.service)
        shop.startService()
        self.assertEqual(self.outcomes("ship"), ["lost"])
