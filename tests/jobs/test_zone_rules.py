"""New rules of a time zone, as an upgrade of tzdata brings them, while jobd runs."""

from __future__ import annotations

import os
import zoneinfo
from importlib.resources import files
from pathlib import Path

from jobd.schedule import forget_zones
from tests.jobs.memory import HOUR, MINUTE, MemoryCase


class ZoneRulesTest(MemoryCase):
    """In January Lisbon goes by UTC, Berlin is an hour ahead, the Azores are one behind."""

    def setUp(self) -> None:
        super().setUp()
        before = zoneinfo.TZPATH
        self.zones = self.mktemp()
        os.makedirs(self.zones)
        zoneinfo.reset_tzpath([os.path.abspath(self.zones)])
        self.addCleanup(forget_zones)
        self.addCleanup(zoneinfo.reset_tzpath, before)
        self.have_rules_of("Europe/Lisbon")

    def have_rules_of(self, name: str) -> None:
        """The zone Here has the rules of the zone NAME from now on."""
        rules = files("tzdata").joinpath("zoneinfo", name).read_bytes()
        Path(self.zones, "Here").write_bytes(rules)

    def test_new_rules(self) -> None:
        """A job runs by the new rules once they are read, and what they would have had before is not owed."""
        here = self.start("30 6,9,12 * * *", "timezone Here\n", name="here")
        other = self.start("0 9 * * *", name="other")
        self.clock.pass_time(7 * HOUR)
        self.end_all()
        self.have_rules_of("Atlantic/Azores")
        self.clock.pass_time(3 * HOUR)
        self.end_all()
        self.assertEqual(self.instants(here), [6 * HOUR + 30 * MINUTE, 9 * HOUR + 30 * MINUTE])
        # Half past ten by UTC is half past nine on the Azores: it is now ten.
        self.jobd.service.reread_zones()
        for _ in range(2):
            self.clock.pass_time(2 * HOUR)
            self.end_all()
        self.assertEqual(self.instants(here)[2:], [10 * HOUR + 30 * MINUTE, 13 * HOUR + 30 * MINUTE])
        self.assertEqual(self.instants(other), [9 * HOUR])

    def test_nothing_owed(self) -> None:
        """What the new rules would have had in the last hour does not run; what is due by now does."""
        job = self.start("30 0,12 * * *", "timezone Here\ncatchup all 10\n")
        self.clock.pass_time(12 * HOUR)
        self.end_all()
        self.have_rules_of("Europe/Berlin")
        self.jobd.service.reread_zones()
        self.clock.pass_time(11 * HOUR + 29 * MINUTE)
        self.end_all()
        self.assertEqual(self.instants(job), [30 * MINUTE])
        self.clock.pass_time(MINUTE)
        self.assertEqual(self.instants(job), [30 * MINUTE, 23 * HOUR + 30 * MINUTE])

    def test_paused(self) -> None:
        """Rules that are read while all is paused count from the end of the pause on."""
        job = self.start("30 12 * * *", "timezone Here\n")
        self.done(self.jobd.table.pause(actor="me"))
        self.have_rules_of("Europe/Berlin")
        self.jobd.service.reread_zones()
        self.clock.pass_time(HOUR)
        self.done(self.jobd.table.resume(actor="me"))
        self.clock.pass_time(12 * HOUR)
        self.assertEqual(self.instants(job), [11 * HOUR + 30 * MINUTE])

    def test_a_zone_that_is_gone(self) -> None:
        """A job whose zone is there no more is said in the log, and runs again once the zone is back."""
        job = self.start("30 12 * * *", "timezone Here\n")
        os.unlink(os.path.join(self.zones, "Here"))
        self.jobd.service.reread_zones()
        self.clock.pass_time(24 * HOUR)
        self.assertEqual(self.instants(job), [])
        self.have_rules_of("Europe/Berlin")
        self.jobd.service.reread_zones()
        self.clock.pass_time(12 * HOUR)
        self.assertEqual(self.instants(job), [35 * HOUR + 30 * MINUTE])
