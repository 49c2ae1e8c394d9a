"""A year of jobd beside a year of Debian's cron, as it was recorded."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.cron import compare, crontabs

PAGE = Path(__file__).parents[2] / "docs/design/cron-year.md"


class YearTests(SynchronousTestCase):
    """Lines of real packages and of our own: when jobs run that jobctl makes of them."""

    def setUp(self) -> None:
        self.record = compare.load()

    def test_lines(self) -> None:
        """Each line runs in jobd at the minutes of the year at which cron ran it, known differences apart."""
        for row in self.record.rows:
            with self.subTest(row.schedule):
                schedule = compare.jobd_schedule(row.schedule)
                times = [*compare.jobd_times(schedule, self.record.zone, self.record.year), *row.cron_only]
                for time in row.jobd_only:
                    times.remove(time)
                self.assertEqual(
                    (len(times), compare.digest(sorted(times))),
                    (row.runs, row.digest),
                )

    def test_differences(self) -> None:
        """Where they differ, cron runs several times of the hour that is left out, and jobd one for all."""
        gap = 1806195600  # 28 March 2027: after 01:59:59 CET comes 03:00:00 CEST
        self.assertEqual(self.record.zone, "Europe/Berlin")
        different = [row for row in self.record.rows if row.cron_only or row.jobd_only]
        self.assertTrue(different)
        for row in different:
            self.assertEqual((set(row.cron_only), row.jobd_only), ({gap}, []), row.schedule)

    def test_packages(self) -> None:
        """The record has ten packages and more, and all lines of our own."""
        self.assertGreater(len({row.package for row in self.record.rows}), 10)
        own = [row.schedule for row in self.record.rows if row.package == crontabs.OWN_PACKAGE]
        self.assertEqual(own, list(crontabs.OWN))

    def test_page(self) -> None:
        """The table that users see is that of the record."""
        self.assertIn(compare.table(self.record), PAGE.read_text())
