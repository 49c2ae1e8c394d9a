"""Text -> expression: what each field may say, what is refused and in which words, and H."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobd.schedule import Schedule, ScheduleError
from jobd.schedule.bits import bits, first_from, members
from jobd.schedule.expression import ALIASES, Days, Expression, expand_hashes, parse_expression
from jobd.schedule.fields import DAY, HOUR, MINUTE, MONTH, SECOND, WEEKDAY, YEAR, Field, parse_field

NUMBERS: list[tuple[Field, str, list[int]]] = [
    (MINUTE, "5", [5]),
    (MINUTE, "05,007,5", [5, 7]),
    (MINUTE, "1-4", [1, 2, 3, 4]),
    (MINUTE, "5-5", [5]),
    (MINUTE, "10-20/5", [10, 15, 20]),
    (MINUTE, "0-59/59", [0, 59]),
    (MINUTE, "*/20", [0, 20, 40]),
    (MINUTE, "?/20", [0, 20, 40]),
    (MINUTE, "40/10", [40, 50]),
    (MINUTE, "59/15", [59]),
    (MINUTE, "5,,6,", [5, 6]),
    (SECOND, "*/59", [0, 59]),
    (HOUR, "*", list(range(24))),
    (HOUR, "?", list(range(24))),
    (HOUR, "3,*", list(range(24))),
    (HOUR, "23/23", [23]),
    (DAY, "*/10", [1, 11, 21, 31]),
    (DAY, "31/2", [31]),
    (DAY, "L", [0]),
    (DAY, "l,1", [0, 1]),
    (MONTH, "jan,FEB,March,12", [1, 2, 3, 12]),
    (MONTH, "NOV-FEB", [1, 2, 11, 12]),
    (MONTH, "11-2/2", [1, 11]),
    (MONTH, "may-may", [5]),
    (MONTH, "12/2", [12]),
    (WEEKDAY, "7", [0]),
    (WEEKDAY, "07", [0]),
    (WEEKDAY, "0,7", [0]),
    (WEEKDAY, "Mon-Wednesday", [1, 2, 3]),
    (WEEKDAY, "FRI-MON", [0, 1, 5, 6]),
    (WEEKDAY, "FRI-MON/2", [0, 5]),
    (WEEKDAY, "5-7", [0, 5, 6]),
    (WEEKDAY, "6-7", [0, 6]),
    (WEEKDAY, "7-1", [0, 1]),
    (WEEKDAY, "7-7", [0]),
    (WEEKDAY, "0-7", [0, 1, 2, 3, 4, 5, 6]),
    (WEEKDAY, "7-6", [0, 1, 2, 3, 4, 5, 6]),
    (WEEKDAY, "1-0", [0, 1, 2, 3, 4, 5, 6]),
    (WEEKDAY, "1/2", [1, 3, 5]),
    (WEEKDAY, "7/3", [0, 3, 6]),
    (WEEKDAY, "*/6", [0, 6]),
    (YEAR, "1970,2099", [0, 129]),
    (YEAR, "2096/4", [126]),
    (YEAR, "*", list(range(130))),
]

# Days of the month: LW is 0, nW is n. Weekdays: 7 * week + weekday, 0 being the last week.
SPECIAL: list[tuple[Field, str, list[int]]] = [
    (DAY, "LW", [0]),
    (DAY, "lw,15W,1w,31W", [0, 1, 15, 31]),
    (WEEKDAY, "5L", [5]),
    (WEEKDAY, "FRIL,fridayl", [5]),
    (WEEKDAY, "7L,0L,SUNL", [0]),
    (WEEKDAY, "FRI#2,5#2,friday#2", [19]),
    (WEEKDAY, "7#1,mon#5", [7, 36]),
]

_MINUTES = "; allowed are 0-59, *, lists, ranges, steps and H"
_HOURS = "; allowed are 0-23, *, lists, ranges, steps and H"
_DAYS = "; allowed are 1-31, L, LW, 15W, *, lists, ranges, steps and H"
_MONTHS = "; allowed are 1-12, JAN-DEC, *, lists, ranges, steps and H"
_WEEKDAYS = "; allowed are 0-7, SUN-SAT, 5L, FRI#2, *, lists, ranges, steps and H"
_YEARS = "; allowed are 1970-2099, *, lists, ranges and steps"
_COUNTS = "; allowed are 5 (minute, hour, day of month, month, weekday), 6 (and a year) or 7 (and a second, "
_COUNTS += "in front)"
_NO_DAY = ": there is no such day; allowed are days that come at least once in 1970-2099"
_WORDS = (
    "; allowed after @ are @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually, @every 1h30m, "
)
_WORDS += "@at 2026-12-24T1800, @reboot"
_AT = (
    "; allowed is YYYY-MM-DDTHHMM with a year of 1970-2099, and after it SS, and an offset such as Z or +0200"
)
_EVERY = "; allowed are 1s, 2s and so on"

MESSAGES = [
    ("61 * * * *", "minute '61': '61' is out of range" + _MINUTES),
    ("60 0 0 1 1 * *", "second '60': '60' is out of range" + _MINUTES),
    ("1,x,2 * * * *", "minute 'x': 'x' is no value" + _MINUTES),
    ("-5 * * * *", "minute '-5': a value is missing" + _MINUTES),
    ("5- * * * *", "minute '5-': a value is missing" + _MINUTES),
    ("/5 * * * *", "minute '/5': a value is missing" + _MINUTES),
    ("1-2-3 * * * *", "minute '1-2-3': '2-3' is no value" + _MINUTES),
    ("*-5 * * * *", "minute '*-5': '*' is no value" + _MINUTES),
    ("+1 * * * *", "minute '+1': '+1' is no value" + _MINUTES),
    ("\udc80 * * * *", "minute '\\udc80': '\\udc80' is no value" + _MINUTES),
    ("\u0661 * * * *", "minute '\u0661': '\u0661' is no value" + _MINUTES),
    ("JAN * * * *", "minute 'JAN': 'JAN' is no value" + _MINUTES),
    (", * * * *", "minute ',': no value stands there" + _MINUTES),
    ("*/0 * * * *", "minute '*/0': the step '0' is out of 1-59" + _MINUTES),
    ("*/60 * * * *", "minute '*/60': the step '60' is out of 1-59" + _MINUTES),
    ("*/ * * * *", "minute '*/': the step '' is out of 1-59" + _MINUTES),
    ("1/2/3 * * * *", "minute '1/2/3': the step '2/3' is out of 1-59" + _MINUTES),
    ("20-10 * * * *", "minute '20-10': the range is reversed" + _MINUTES),
    ("* 22-4 * * *", "hour '22-4': the range is reversed" + _HOURS),
    ("* */24 * * *", "hour '*/24': the step '24' is out of 1-23" + _HOURS),
    ("* * 0 * *", "day of month '0': '0' is out of range" + _DAYS),
    ("* * 0W * *", "day of month '0W': '0' is out of range" + _DAYS),
    ("* * L-2 * *", "day of month 'L-2': 'L' is no value" + _DAYS),
    ("* * FRIL * *", "day of month 'FRIL': 'FRIL' is no value" + _DAYS),
    ("* * * 13 *", "month '13': '13' is out of range" + _MONTHS),
    ("* * * fr\u0131 *", "month 'fr\u0131': 'fr\u0131' is no value" + _MONTHS),
    ("* * * * 8", "weekday '8': '8' is out of range" + _WEEKDAYS),
    ("* * * * FRIDAI", "weekday 'FRIDAI': 'FRIDAI' is no value" + _WEEKDAYS),
    ("* * * * FR", "weekday 'FR': 'FR' is no value" + _WEEKDAYS),
    ("* * * * */7", "weekday '*/7': the step '7' is out of 1-6" + _WEEKDAYS),
    ("* * * * L", "weekday 'L': 'L' is no value" + _WEEKDAYS),
    ("* * * * 8L", "weekday '8L': '8' is out of range" + _WEEKDAYS),
    ("* * * * FRI#6", "weekday 'FRI#6': the week after # is out of 1-5" + _WEEKDAYS),
    ("* * * * FRI#0", "weekday 'FRI#0': the week after # is out of 1-5" + _WEEKDAYS),
    ("* * * * #2", "weekday '#2': '#2' is no value" + _WEEKDAYS),
    ("* * * * * 1969", "year '1969': '1969' is out of range" + _YEARS),
    ("* * * * * 2030-2020", "year '2030-2020': the range is reversed" + _YEARS),
    ("* * * * * H", "year 'H': H has no meaning here" + _YEARS),
    ("H(5) * * * *", "minute 'H(5)': H(a-b) takes a range" + _MINUTES),
    ("H(9-5) * * * *", "minute 'H(9-5)': the range is reversed" + _MINUTES),
    ("H/0 * * * *", "minute 'H/0': the step '0' is out of 1-59" + _MINUTES),
    ("* * H(0-5) * *", "day of month 'H(0-5)': '0' is out of range" + _DAYS),
    ("HH * * * *", "minute 'HH': 'HH' is no value" + _MINUTES),
    ("0 0 30 2 *", "day of month '30', month '2', weekday '*', year '*'" + _NO_DAY),
    ("0 0 29 2 ? 2026", "day of month '29', month '2', weekday '?', year '2026'" + _NO_DAY),
    ("0 0 31W 2,4 ?", "day of month '31W', month '2,4', weekday '?', year '*'" + _NO_DAY),
    ("0 0 * 2 MON#5 2040", "day of month '*', month '2', weekday 'MON#5', year '2040'" + _NO_DAY),
    ("* * * *", "the schedule '* * * *' has 4 fields" + _COUNTS),
    ("daily", "the schedule 'daily' has 1 field" + _COUNTS),
    ("1 2 3 4 5 6 7 8", "the schedule '1 2 3 4 5 6 7 8' has 8 fields" + _COUNTS),
    ("@fortnightly", "'@fortnightly' is no schedule" + _WORDS),
    ("@daily 5", "'@daily 5' is no schedule" + _WORDS),
    ("@every", "'@every' is no schedule" + _WORDS),
    ("@every 0", "@every '0': too short, or no whole seconds" + _EVERY),
    ("@every 1.5s", "@every '1.5s': too short, or no whole seconds" + _EVERY),
    (
        "@every day",
        "@every: the duration 'day' can't be read; allowed are 0 to 36525d, "
        "as 90s, 1h30m, 2d, 250ms or a plain number of seconds",
    ),
    ("@at 6pm", "@at '6pm': can't be read" + _AT),
    ("@at 2026-12-24T18", "@at '2026-12-24T18': can't be read" + _AT),
    ("@at 2026-02-30T1200", "@at '2026-02-30T1200': no such time exists" + _AT),
    ("@at 2100-01-01T0000", "@at '2100-01-01T0000': no such time exists" + _AT),
    ("@at 0001-01-01T0000+2359", "@at '0001-01-01T0000+2359': no such time exists" + _AT),
    ("@at 2026-01-01T0000+2400", "@at '2026-01-01T0000+2400': no such time exists" + _AT),
    ("0 0 * * *\n0 1 * * *", "the schedule '0 0 * * *\\n0 1 * * *' has several lines; allowed is one"),
    ("1" * 257, f"the schedule '{'1' * 40}...' is too long; allowed are 256 bytes"),
    ("\xe9" * 129, "the schedule '" + "\xe9" * 40 + "...' is too long; allowed are 256 bytes"),
    (" " * 10**6 + "* * * * *", f"the schedule '{' ' * 40}...' is too long; allowed are 256 bytes"),
]


class Bits(SynchronousTestCase):
    def test_sets(self) -> None:
        """An int of bits is the set of its numbers, and its first member from anywhere on is found."""

        @settings(deadline=None)
        @given(st.sets(st.integers(0, 200)), st.integers(0, 250))
        def law(numbers: set[int], start: int) -> None:
            self.assertEqual(members(bits(numbers)), sorted(numbers))
            self.assertEqual(
                first_from(bits(numbers), start), min((n for n in numbers if n >= start), default=-1)
            )

        law()


class Fields(SynchronousTestCase):
    def test_numbers(self) -> None:
        """Every way to write a value, a list, a range and a step gives its numbers."""
        for field, text, numbers in NUMBERS:
            self.assertEqual(members(parse_field(field, text).numbers), numbers, text)
            self.assertEqual(parse_field(field, text).special, 0, text)

    def test_special(self) -> None:
        """Days written with W, L and # are kept apart from those that have a number."""
        for field, text, special in SPECIAL:
            self.assertEqual(members(parse_field(field, text).special), special, text)
            self.assertEqual(parse_field(field, text).numbers, 0, text)

    def test_case(self) -> None:
        """The case of letters says nothing."""
        for field, text, _ in NUMBERS + SPECIAL:
            self.assertEqual(parse_field(field, text.lower()), parse_field(field, text.upper()), text)


class Expressions(SynchronousTestCase):
    def test_field_counts(self) -> None:
        """Five fields run at second 0 of any year, six name the year, seven the second and the year."""
        five = parse_expression("1 2 3 4 *")
        days = Days(1 << 3, 0, 0, 0)
        self.assertEqual(five, Expression(1, 1 << 1, 1 << 2, days, 1 << 4, (1 << 130) - 1, True))
        self.assertEqual(parse_expression("1 2 3 4 * 1971"), five._replace(years=2))
        self.assertEqual(parse_expression("9 1 2 3 4 * 1971"), five._replace(seconds=1 << 9, years=2))

    def test_days(self) -> None:
        """Of the two day fields one with a star in its list restricts nothing, and else either matches."""
        for text, days in [
            ("* *", None),
            ("? *", None),
            ("3 *", Days(1 << 3, 0, 0, 0)),
            ("3,* 1", Days(0, 0, 2, 0)),
            ("3 1,?", Days(1 << 3, 0, 0, 0)),
            ("3 1", Days(1 << 3, 0, 2, 0)),
            ("*/1 1", Days((1 << 32) - 2, 0, 2, 0)),
            ("3,LW 1,5L", Days(1 << 3, 1, 2, 1 << 5)),
        ]:
            day, weekday = text.split()
            self.assertEqual(parse_expression(f"0 0 {day} * {weekday}").days, days, text)

    def test_fixed(self) -> None:
        """A schedule is of fixed times where neither minute nor hour begins with a star or question mark."""
        for text, fixed in [
            ("30 2 * * *", True),
            ("0/5 0-23 * * *", True),
            ("*/7 30 2 * * * *", True),
            ("1,* 2 * * *", True),
            ("* 2 * * *", False),
            ("30 * * * *", False),
            ("*/5 2 * * *", False),
            ("? 2 * * *", False),
            ("0 ?/2 * * *", False),
            ("@daily", True),
            ("@hourly", False),
            ("H H * * *", True),
            ("H * * * *", False),
            ("@at 2030-01-01T0000", True),
            ("@every 1h", False),
            ("@reboot", False),
        ]:
            self.assertEqual(Schedule.parse(text).fixed, fixed, text)

    def test_aliases(self) -> None:
        """Each alias is the expression that it stands for, in any case."""
        for alias, text in ALIASES.items():
            for time in (0, 1_790_000_000):
                self.assertEqual(
                    Schedule.parse(alias.upper()).next_epoch(time),
                    Schedule.parse(text).next_epoch(time),
                    alias,
                )


class Refusals(SynchronousTestCase):
    def test_messages(self) -> None:
        """A refusal says which field, what stands there, and what is allowed, in one line."""
        for text, message in MESSAGES:
            error = self.assertRaises(ScheduleError, Schedule.parse, text, "Europe/Berlin")
            self.assertEqual(str(error), message)

    def test_zone_and_rule(self) -> None:
        """So do those of zones and rules that don't exist."""
        for zone in (
            "Mars/Base",
            "",
            "..",
            "/etc/passwd",
            "Europe",
            "a\0b",
            "x" * 5000,
            "\udc80",
            "tzdata.zi",
        ):
            error = self.assertRaises(ScheduleError, Schedule.parse, "@daily", zone)
            self.assertRegex(str(error), r"^timezone '.*': there is no such zone; allowed are IANA names")
        error = self.assertRaises(ScheduleError, Schedule.parse, "@daily", dst="no")
        self.assertEqual(str(error), "dst 'no': there is no such rule; allowed are vixie, skip, utc")

    def test_any_text(self) -> None:
        """Any text is a schedule, whose next time is later, or a ScheduleError of one line."""
        likely = st.text(alphabet="0123456789*?,-/LWH#()@ JANFRIsat\t\n.", max_size=40)
        words = st.lists(st.sampled_from(["*", "5", "H", "L", "1-5", "*/2", "FRI#2", "@every", "@at", "90s"]))

        @settings(deadline=None, max_examples=500)
        @given(st.text() | likely | words.map(" ".join), st.text(max_size=5), st.integers(-(10**12), 10**12))
        def law(text: str, name: str, after: int) -> None:
            try:
                schedule = Schedule.parse(text, "Europe/Berlin", name)
            except ScheduleError as error:
                self.assertEqual(len(str(error).splitlines()), 1)
                self.assertIn("allowed", str(error))
            else:
                found = schedule.next_epoch(after)
                self.assertTrue(found is None or found > after)

        law()


class Hashes(SynchronousTestCase):
    def test_values_are_kept(self) -> None:
        """H means the same for a name for ever: these are the values of the first release."""
        for text, expanded in [
            ("H H * * *", "27 5 * * *"),
            ("H/15 * * * *", "12,27,42,57 * * * *"),
            ("H(0-29),45 H(1-3) H H H", "27,45 3 23 5 1"),
            ("H(0-29)/10 * * * *", "7,17,27 * * * *"),
            ("0 0 * * H(FRI-MON)", "0 0 * * 5"),
            ("h 0 0 1 1 ? *", "51 0 0 1 1 ? *"),
            ("0 0 * MAR THU", "0 0 * MAR THU"),
        ]:
            self.assertEqual(expand_hashes(text, "backup"), expanded)

    def test_range(self) -> None:
        """H takes each value of its range for some name, and no other; days of the month end at the 28th."""
        for text, numbers in [
            ("H", range(60)),
            ("H(10-15)", range(10, 16)),
            ("H(10-15)/30", range(10, 16)),
            ("* H", range(24)),
            ("* * H", range(1, 29)),
            ("* * * H", range(1, 13)),
            ("* * * * H", range(7)),
            ("* * * * H(FRI-MON)", (0, 1, 5, 6)),
        ]:
            position = text.count(" ")
            whole = " ".join([*text.split(), "*", "*", "*", "*"][:5])
            seen = {expand_hashes(whole, f"job{n}").split()[position] for n in range(1000)}
            self.assertEqual(seen, set(map(str, numbers)), text)

    def test_steps(self) -> None:
        """H/n is every n-th value, from one of the first n on, to the end of the range."""
        seen = set()
        for n in range(300):
            minutes = expand_hashes("H/25 * * * *", f"job{n}").split()[0]
            numbers = [int(each) for each in minutes.split(",")]
            self.assertEqual(numbers, list(range(numbers[0], 60, 25)))
            seen.add(numbers[0])
        self.assertEqual(seen, set(range(25)))

    def test_spread(self) -> None:
        """A thousand jobs spread over the minutes of an hour, none of which gets three times its share."""
        minutes = Counter(expand_hashes("H * * * *", f"job{n}") for n in range(1000))
        self.assertEqual(len(minutes), 60)
        self.assertLess(max(minutes.values()), 50)

    def test_no_growth(self) -> None:
        """A list of many H is no longer than the field has values."""
        self.assertEqual(expand_hashes("H/1" + ",H/1" * 50 + " * * * *", "x").count(","), 59)

    def test_any_name(self) -> None:
        """Any name has a hash, one that is no Unicode text among them."""
        self.assertRegex(expand_hashes("H * * * *", "\udc80"), r"^\d+ \* \* \* \*$")

    def test_fields_differ(self) -> None:
        """The hash of a field says nothing of another's: minute and second aren't always the same."""
        pairs = {tuple(expand_hashes("H H * * * * *", f"job{n}").split()[:2]) for n in range(100)}
        self.assertGreater(len([pair for pair in pairs if pair[0] != pair[1]]), 80)
