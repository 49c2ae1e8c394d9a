"""The options of a job, as they are written, kept and shown."""

from __future__ import annotations

from errno import EINVAL

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobd.jobs.errors import JobError
from jobd.jobs.options import DEFAULTS, KEYS, LIMITS, MAX_OPTIONS, Options, Policy, kept, merge, show
from jobd.schedule.durations import format_duration

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0\n"), max_size=40)
DURATIONS = st.integers(0, 10**9).map(lambda milliseconds: format_duration(milliseconds / 1000))
PATHS = TEXTS.map(lambda text: "/" + text)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True)
POLICIES = st.integers(1, 1000)
LINES = st.one_of(
    st.sampled_from(KEYS),
    st.just("default"),
    st.builds("description {}".format, TEXTS),
    st.sampled_from(["timezone Europe/Berlin", "timezone UTC", "dst skip", "dst utc", "dst vixie"]),
    st.sampled_from(["catchup none", "catchup last", "overlap skip", "overlap replace", "timeout none"]),
    st.builds("{} {}".format, st.sampled_from(["catchup all", "overlap queue", "overlap allow"]), POLICIES),
    st.builds(
        "{} {}".format, st.sampled_from(["deadline", "timeout", "grace", "retry-delay", "jitter"]), DURATIONS
    ),
    st.builds("{} {}".format, st.sampled_from(["dir", "shell"]), PATHS),
    st.builds("on-failure {}".format, TEXTS),
    st.builds("env {}={}".format, NAMES, TEXTS),
    st.builds("env {}".format, NAMES),
    st.builds("limit {} {}".format, st.sampled_from(LIMITS), st.integers(0, 10**12)),
    st.builds("umask {:03o}".format, st.integers(0, 0o777)),
    st.builds("nice {}".format, st.integers(0, 19)),
    st.builds("keep-log {}{}".format, st.integers(0, 9999), st.sampled_from(["", "K", "M", "k"])),
)
MESSAGES = st.lists(LINES, max_size=12).map(lambda lines: "".join(line + "\n" for line in lines).encode())


class MergeTest(SynchronousTestCase):
    """`merge` and `show`."""

    @settings(deadline=None, max_examples=200)
    @given(MESSAGES)
    def test_round_trip(self, message: bytes) -> None:
        """What is shown can be written back, and changes nothing; what is kept gives the same again."""
        options = merge(DEFAULTS, message)
        self.assertEqual(merge(options, show(options).encode()), options)
        self.assertEqual(merge(DEFAULTS, show(options, defaults=False).encode()), options)

    @settings(deadline=None, max_examples=200)
    @given(MESSAGES, MESSAGES)
    def test_one_after_another(self, first: bytes, second: bytes) -> None:
        """Two messages are what one of both is."""
        self.assertEqual(merge(merge(DEFAULTS, first), second), merge(DEFAULTS, first + second))

    @settings(deadline=None, max_examples=300)
    @given(MESSAGES, st.binary(max_size=60))
    def test_any_bytes(self, before: bytes, message: bytes) -> None:
        """Any bytes give options that can be shown, or one sentence of refusal."""
        options = merge(DEFAULTS, before)
        try:
            changed = merge(options, message)
        except JobError as error:
            self.assertEqual(error.errno, EINVAL)
            self.assertNotIn("\n", str(error))
        else:
            self.assertEqual(merge(changed, show(changed).encode()), changed)

    def test_shown(self) -> None:
        """Each option has its line, at its default too; those of several values have one for each."""
        lines = show(DEFAULTS).splitlines()
        self.assertEqual(
            [line.split()[0] for line in lines], [key for key in KEYS if key not in ("env", "limit")]
        )
        self.assertEqual(
            show(merge(DEFAULTS, b"env B=2\nenv A= x=y \nlimit nofile 64\ntimeout 90\n"), defaults=False),
            "timeout 1m30s\nenv A= x=y\nenv B=2\nlimit nofile 64\n",
        )

    def test_changes(self) -> None:
        """A key alone resets it, `env NAME` unsets it, `default` resets all."""
        begun = merge(DEFAULTS, b"retries 3\nenv A=1\nenv B=2\noverlap\tqueue  4\n")
        self.assertEqual(begun.overlap, Policy("queue", 4))
        table: tuple[tuple[bytes, Options], ...] = (
            (b"retries", begun._replace(retries=0)),
            (b"  retries 5  ", begun._replace(retries=5)),
            (b"env A", begun._replace(env={"B": "2"})),
            (b"env A\nenv A=9\n", begun._replace(env={"A": "9", "B": "2"})),
            (b"env", begun._replace(env={})),
            (b"default", DEFAULTS),
            (b"default\nretries 1\n", DEFAULTS._replace(retries=1)),
            (b"", begun),
            (b"\n\n", begun),
        )
        for message, expected in table:
            self.assertEqual(merge(begun, message), expected, message)

    def test_refused(self) -> None:
        """A refusal is one sentence that names the option, what stands there, and what is allowed."""
        table = (
            (b"retries 1\ntimeout 1", "several lines must end in a newline"),
            (b"colour red", "there is no option 'colour': allowed are description, timezone"),
            (b"overlap allow", "option overlap: 'allow' is not skip, queue N, replace or allow N"),
            (b"overlap allow 0", "'allow 0' is not"),
            (b"overlap skip 3", "'skip 3' is not"),
            (b"catchup all 1001", "with N up to 1000"),
            (b"dst winter", "option dst: 'winter' is not one of vixie, skip, utc"),
            (b"timezone Mars/Olympus", "option timezone: 'Mars/Olympus' is not an IANA time zone"),
            (b"timezone ../../etc/passwd", "is not an IANA time zone"),
            (b"timeout soon", "option timeout: 'soon' is not none, or a duration"),
            (b"retries -1", "option retries: '-1' is not a number from 0 to 1000000"),
            (b"nice -5", "option nice: '-5' is not a number from 0 to 19"),
            (b"umask 999", "three octal digits"),
            (b"dir tmp", "option dir: 'tmp' is not an absolute path"),
            (b"env 1A=x", "option env: '1A=x' is not NAME=VALUE"),
            (b"env A=\0", "option env:"),
            (b"limit threads 5", "option limit: 'threads 5' is not a NAME of as, core"),
            (b"keep-runs 0", "option keep-runs: '0' is not a number from 1 to"),
            (b"max-output lots", "'lots' is not a number of bytes"),
            (b"description \xff", "options: byte 13 is not UTF-8"),
        )
        for message, expected in table:
            error = self.assertRaises(JobError, merge, DEFAULTS, message)
            self.assertIn(expected, str(error))
            self.assertEqual((error.errno, str(error).count("\n")), (EINVAL, 0))

    def test_all_or_nothing(self) -> None:
        """A message with one wrong line changes nothing."""
        self.assertRaises(JobError, merge, DEFAULTS, b"retries 3\nnice 99\n")
        self.assertEqual(DEFAULTS, Options())

    def test_bounded(self) -> None:
        """Options are kept up to a size, however many messages they came in."""
        options = DEFAULTS
        for number in range(MAX_OPTIONS // 1024):
            self.assertEqual(merge(DEFAULTS, kept(options).encode()), options)
            options = merge(options, f"env V{number}={'x' * 1024}".encode())
        error = self.assertRaises(JobError, kept, options)
        self.assertEqual(error.errno, EINVAL)
        self.assertIn("and 65536 are allowed in all", str(error))
