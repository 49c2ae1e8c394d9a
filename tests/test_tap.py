"""The options of `twistd jobd`, and the plugin that makes them known."""

from __future__ import annotations

import os
import pwd
import time
from unittest import mock

from twisted.application.service import IServiceMaker
from twisted.internet.endpoints import serverFromString
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import Logger, LogLevel, LogPublisher, globalLogPublisher
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from jobd import __main__, logs, tap
from jobd.daemon import Daemon, StartError
from jobd.endpoints import endpoint_description
from jobd.ninep.limits import Limits
from jobd.zone import ZoneError, local_zone
from twisted.plugins import jobd_plugin


def parsed(*arguments: str) -> tap.Options:
    """The options of a command line."""
    options = tap.Options()
    options.parseOptions(arguments)
    return options


class AddressTest(SynchronousTestCase):
    """`--fsaddr`."""

    def test_addresses(self) -> None:
        """host:port, :port and [address]:port become endpoints; endpoints stay what they are."""
        for address, description in (
            ("0.0.0.0:5640", "tcp:port=5640:interface=0.0.0.0"),
            ("localhost:1", "tcp:port=1:interface=localhost"),
            (":5640", "tcp:port=5640"),
            ("[::1]:5640", "tcp6:port=5640:interface=\\:\\:1"),
            ("[::]:0", "tcp6:port=0:interface=\\:\\:"),
            ("tcp:5640", "tcp:5640"),
            ("tcp6:5640", "tcp6:5640"),
            ("unix:/run/jobd.sock", "unix:/run/jobd.sock"),
            ("unix:5640", "unix:5640"),
            ("systemd:domain=INET:index=0", "systemd:domain=INET:index=0"),
            ("haproxy:tcp:5640", "haproxy:tcp:5640"),
        ):
            self.assertEqual(endpoint_description(address), description)
            if not description.startswith("systemd"):
                serverFromString(MemoryReactorClock(), description)

    def test_refused(self) -> None:
        """What is none of these is refused in a sentence that says what it should be."""
        for address, about in (
            ("", "HOST:PORT"),
            ("5640", "HOST:PORT"),
            ("localhost", "HOST:PORT"),
            ("localhost:", "port ''"),
            ("localhost:x", "port 'x'"),
            ("localhost:65536", "65535"),
            ("localhost:٣", "port"),
            ("::1:5640", "brackets"),
        ):
            self.assertIn(about, str(self.assertRaises(ValueError, endpoint_description, address)))


class OptionsTest(SynchronousTestCase):
    """What the command line may say."""

    def test_defaults(self) -> None:
        """Without options, what the manual promises."""
        options = parsed()
        self.assertEqual(options["fsaddr"], ["0.0.0.0:5640"])
        self.assertEqual(options["max-runs"], max(64, 8 * (os.cpu_count() or 1)))
        self.assertEqual(
            [options[name] for name in ("debug", "anonymous", "jobs-mode", "stop-wait", "trust-tcp")],
            [0, None, 0o711, 0.0, "all"],
        )
        self.assertEqual(options["limits"], Limits())

    def test_directory(self) -> None:
        """Root's database lives in /var/lib/jobd, an ordinary user's in a state directory."""
        with mock.patch("os.geteuid", return_value=0):
            self.assertEqual(parsed()["dbdir"], "/var/lib/jobd")
        state = os.path.join(self.mktemp(), "state")
        with mock.patch("os.geteuid", return_value=1000):
            with mock.patch.dict("os.environ", {"XDG_STATE_HOME": os.path.abspath(state)}):
                self.assertEqual(parsed()["dbdir"], os.path.abspath(state) + "/jobd")
            self.assertTrue(os.path.isdir(state))
            with mock.patch.dict("os.environ", {"HOME": os.path.abspath(state), "XDG_STATE_HOME": ""}):
                self.assertEqual(parsed()["dbdir"], os.path.abspath(state) + "/.local/state/jobd")
        self.assertEqual(parsed("--dbdir", "here")["dbdir"], os.path.abspath("here"))

    def test_values(self) -> None:
        """Each option is read into what the daemon needs."""
        options = parsed(
            "--fsaddr=:1", "--fsaddr=unix:/x", "--anonymous=root", "--jobs-mode=750", "--max-runs=7",
            "--stop-wait=1m30s", "--trust-tcp=users", "--debug", "--log-level=warn,jobd.jobs=debug",
        )  # fmt: skip
        self.assertEqual(options["fsaddr"], [":1", "unix:/x"])
        self.assertEqual(options["anonymous"].name, pwd.getpwuid(0).pw_name)
        self.assertEqual(
            [options[name] for name in ("debug", "jobs-mode", "stop-wait", "trust-tcp", "max-runs")],
            [1, 0o750, 90.0, "users", 7],
        )
        level = options["log-level"].logLevelForNamespace
        self.assertEqual(
            [level(name) for name in ("jobd.ninep", "jobd.jobs.scheduler")], [LogLevel.warn, LogLevel.debug]
        )

    def test_limits(self) -> None:
        """Each limit of the file service is an option."""
        options = parsed(
            "--max-connections=7", "--attach-timeout=5s", "--idle-timeout=1h", "--max-msize=64K",
            "--max-fids=100", "--max-requests=16", "--max-waiting-bytes=1m", "--max-reply-bytes=65536",
        )  # fmt: skip
        self.assertEqual(
            options["limits"],
            Limits(
                msize=1 << 16, fids=100, requests=16, waiting_bytes=1 << 20, reply_bytes=1 << 16,
                connections=7, greeting=5.0, idle=3600.0,
            ),
        )  # fmt: skip

    def test_refused(self) -> None:
        """Anything wrong is one line that names the option and what is allowed."""
        for arguments, about in (
            (["--fsaddr", "5640"], "--fsaddr 5640: HOST:PORT"),
            (["--log-level", "loud"], "--log-level loud: there is no level 'loud'"),
            (["--log-level", "info,debug"], "PART=LEVEL"),
            (["--log-level", "info,=debug"], "PART=LEVEL"),
            (["--anonymous", "no such user"], "--anonymous no such user: there is no such user"),
            (["--trust-tcp", "some"], "all, users, none"),
            (["--jobs-mode", "888"], "octal"),
            (["--jobs-mode", "7"], "octal"),
            (["--jobs-mode", "1777"], "octal"),
            (["--max-runs", "0"], "1 to 1000000"),
            (["--max-runs", "-1"], "1 to 1000000"),
            (["--max-runs", "many"], "1 to 1000000"),
            (["--stop-wait", "long"], "--stop-wait long"),
            (["--max-connections", "0"], "--max-connections 0: a number from 1 to 1000000"),
            (["--max-connections", "9" * 5000], "a number from 1 to 1000000"),
            (["--max-fids", "-1"], "--max-fids -1: a number from 1 to 1000000"),
            (["--max-requests", "65536"], "a number from 1 to 65535"),
            (["--max-msize", "1K"], "--max-msize 1K: a number of bytes from 4K to 16M"),
            (["--max-msize", "big"], "a number of bytes from 4K to 16M"),
            (["--max-reply-bytes", "0"], "a number of bytes from 1 to 64M"),
            (["--max-waiting-bytes", "512K"], "less than --max-msize 1M"),
            (["--idle-timeout", "0s"], "--idle-timeout 0s: a time above 0"),
            (["--idle-timeout", "soon"], "--idle-timeout soon: the duration 'soon'"),
            (["--nonsense"], "nonsense"),
            (["extra"], "arguments"),
        ):
            sentence = str(self.assertRaises(usage.UsageError, parsed, *arguments))
            self.assertIn(about, sentence)
            self.assertNotIn("\n", sentence)

    def test_plugin(self) -> None:
        """`twistd jobd` finds these options and what they make."""
        maker = jobd_plugin.jobd
        self.assertTrue(IServiceMaker.providedBy(maker))
        self.assertEqual(maker.tapname, "jobd")
        self.assertIsInstance(maker.options(), tap.Options)
        self.assertIsInstance(maker.makeService(parsed("--dbdir", "unused")), Daemon)

    def test_background(self) -> None:
        """Only where twistd makes a daemon of itself is a failed start told by an exception."""
        for parent, background in (
            (None, False),
            ({"nodaemon": 1}, False),
            ({"nodaemon": 0}, True),
            ({}, False),
        ):
            options = parsed("--dbdir", "/proc/no/such/directory", "--fsaddr", "unix:/proc/no")
            options.parent = parent
            service = tap.makeService(options)
            error = self.assertRaises(StartError if background else SystemExit, service.startService)
            self.assertIn("--fsaddr unix:/proc/no: ", str(error))

    def test_command(self) -> None:
        """`jobd` says what is wrong with its options in one line and ends with status 2."""
        with mock.patch("sys.stderr") as stderr:
            error = self.assertRaises(SystemExit, __main__.main, ["--trust-tcp", "x"])
        self.assertEqual(error.code, 2)
        written = "".join(call.args[0] for call in stderr.write.call_args_list)
        self.assertEqual(written, "jobd: --trust-tcp x: one of all, users, none is expected\n")


class ZoneTest(SynchronousTestCase):
    """The machine's own time zone."""

    def use(self, zone: str | None) -> None:
        """Be in ZONE, a value of TZ, until the end of the test."""
        patch = mock.patch.dict("os.environ", {} if zone is None else {"TZ": zone})
        patch.start()
        time.tzset()
        self.addCleanup(time.tzset)
        self.addCleanup(patch.stop)
        # tzlocal remembers what it found.
        self.patch(tzlocal_unix(), "_cache_tz_name", None)

    def test_named(self) -> None:
        """A zone that TZ names is taken."""
        self.use("Asia/Tokyo")
        self.assertEqual(local_zone(), "Asia/Tokyo")

    def test_unnamed(self) -> None:
        """Rules that no zone is named for can't be used, and the sentence says what can."""
        self.use("XYZ-3:30")
        self.assertIn("TZ=Europe/Berlin", str(self.assertRaises(ZoneError, local_zone)))


def tzlocal_unix() -> object:
    import tzlocal.unix

    return tzlocal.unix


class LogTest(SynchronousTestCase):
    """`--log-level` and `--debug`."""

    def test_levels(self) -> None:
        """What is below the level of its part is not logged, nor written anywhere."""
        events: list[str] = []
        self.patch(globalLogPublisher, "_observers", [])
        globalLogPublisher.addObserver(lambda event: events.append(event["log_namespace"]))
        logs.use_log_level(logs.parse_log_level("warn,jobd.jobs=debug,jobd.jobs.store=critical"))
        for name in ("jobd.tree", "jobd.jobs.runner", "jobd.jobs.store"):
            for level in ("debug", "warn"):
                getattr(Logger(name), level)("x")
        self.assertEqual(events, ["jobd.tree", "jobd.jobs.runner", "jobd.jobs.runner"])
        self.assertIsInstance(globalLogPublisher, LogPublisher)

    def test_trace(self) -> None:
        """A line of `--debug` goes to stderr at once."""
        with mock.patch("sys.stderr") as stderr:
            logs.trace_to_stderr("-> Tversion")
        self.assertEqual("".join(call.args[0] for call in stderr.write.call_args_list), "-> Tversion\n")
        stderr.flush.assert_called()
