"""import and export, between jobds and crontabs."""

from __future__ import annotations

import os
import pwd
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from jobd.access import Peer, User
from jobd.cli.definition import Definition, read_definitions, write_definitions
from tests.cli.support import Here, run

ME = pwd.getpwuid(os.geteuid()).pw_name
CRONTAB = "# Saves it all\n5 4 * * * backup --all\n*/5 * * * * poll\n"

_COMMANDS = st.one_of(
    st.sampled_from(["", "x", "\n", "x\n\n y\n", "\tx", "é: %\n", "#x"]),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
)
_OPTIONS = st.lists(
    st.sampled_from(
        [
            "description A thing",
            "timeout 5m",
            "env A=b c",
            "env B=",
            "env C='",
            "timezone Asia/Tokyo",
            "umask 077",
            "overlap queue 3",
            "retries 2",
        ]
    ),
    unique=True,
    max_size=4,
)
_JOBS = st.lists(
    st.tuples(
        st.from_regex(r"[a-z]([a-z0-9.-]{0,8}[a-z])?", fullmatch=True),
        st.sampled_from(
            ["@daily", "0 5 * * *", "0 0/5 * * * ? *", "@every 90s", "@at 2030-12-24T18:00", "H H * * *"]
        ),
        _COMMANDS,
        _OPTIONS,
        st.booleans(),
    ),
    unique_by=lambda job: job[0],
    min_size=1,
    max_size=4,
)


class ExchangeCase(SynchronousTestCase):
    """Tests with a jobd, a jobctl for it, and a directory."""

    def setUp(self) -> None:
        self.jobctl = Here(self)
        directory = tempfile.TemporaryDirectory(prefix="jobctl")
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def file(self, name: str, text: str) -> str:
        """The path of a new file with TEXT in it."""
        path = self.directory / name
        path.write_text(text)
        return str(path)

    def names(self) -> list[str]:
        """The jobs that there are."""
        return self.jobctl("cat", "jobs").stdout.split()


class DefinitionsTests(ExchangeCase):
    """What `export` writes, `import` reads."""

    @settings(deadline=None, max_examples=25)
    @given(_JOBS)
    def test_law(self, jobs: list[tuple[str, str, str, list[str], bool]]) -> None:
        """What one jobd exports, another imports to the same jobs: what that exports is the same text."""
        test = SynchronousTestCase()
        one, other = Here(test), Here(test)
        try:
            made = [
                Definition(name, schedule, command, tuple(options), started and bool(command))
                for name, schedule, command, options, started in jobs
            ]
            first = one("import", "-", input=write_definitions(made).encode())
            self.assertEqual(first.stderr, "")
            text = one("export").stdout_bytes
            self.assertEqual(other("import", "-", input=text).exit_code, 0)
            self.assertEqual(other("export").stdout_bytes, text)
            found = {job.name: job for job in read_definitions(text.decode())}
            for job in made:
                there = found[job.name]
                self.assertEqual(there._replace(owner="", options=()), job._replace(options=()))
                self.assertEqual(sorted(there.options), sorted(job.options))
        finally:
            test.doCleanups()

    def test_export_of_some(self) -> None:
        """export takes names, and gives the text of those."""
        self.jobctl("import", "-", input="job a\nschedule @daily\n\njob b\nschedule @daily\n")
        text = self.jobctl("export", "b").stdout
        self.assertEqual(text, f"job b\nowner {ME}\nschedule @daily\nstate stopped\n")

    def test_long_command(self) -> None:
        """A command that takes several messages is exported whole."""
        command = "x" * 9000 + "\n" + "y" * 200_000
        self.jobctl("add", "a", "@daily", command)
        (job,) = read_definitions(self.jobctl("export").stdout)
        self.assertEqual(job.command, command)

    def test_twice(self) -> None:
        """What is there already, and the same, is left as it is."""
        text = "job a\nschedule @daily\noption timeout 300\ncommand x\nstate started\n"
        self.assertEqual(self.jobctl("import", "-", input=text).stdout, "made a\n")
        self.assertEqual(self.jobctl("import", "-", input=text).stdout, "kept a\n")

    def test_replace(self) -> None:
        """A job that differs is refused, and changed with --replace; its other options get their defaults."""
        self.jobctl(
            "import", "-", input="job a\nschedule @daily\noption timeout 5m\nstate started\ncommand x\n"
        )
        for text in (
            "job a\nschedule @hourly\ncommand x\n",
            "job a\nschedule @daily\noption timeout 5m\ncommand x\n",
        ):
            with self.subTest(text):
                refused = self.jobctl("import", "-", input=text)
                self.assertEqual((refused.exit_code, refused.stdout), (1, ""))
                self.assertIn("--replace", refused.stderr)
        text = "job a\nschedule @hourly\noption retries 2\ncommand y\n"
        self.assertEqual(self.jobctl("import", "--replace", "-", input=text).stdout, "changed a\n")
        job = self.jobctl.jobd.table.job("a")
        self.assertEqual((job.schedule_text, job.command, job.started), ("@hourly", "y", False))
        self.assertEqual((job.options.retries, job.options.timeout), (2, 0.0))

    def test_refused_by_the_daemon(self) -> None:
        """What the daemon refuses is said by name, with status 1, and the others are made."""
        text = "job a\nschedule 61 * * * *\n\njob b\nschedule @daily\n\njob c:d\nschedule @daily\n"
        result = self.jobctl("import", "-", input=text)
        self.assertEqual((result.exit_code, self.names()), (1, ["b"]))
        self.assertIn("jobctl: a: schedule: minute '61'", result.stderr)
        self.assertIn("jobctl: c:d: job name 'c:d'", result.stderr)

    def test_unreadable(self) -> None:
        """A text that says no jobs makes none."""
        for arguments, words in (
            ([self.file("a", "job a\nschedule @daily\nwhat\n")], "line 3: 'what' is unknown"),
            ([str(self.directory / "none")], "No such file"),
        ):
            with self.subTest(arguments):
                result = self.jobctl("import", *arguments)
                self.assertEqual((result.exit_code, self.names()), (1, []))
                self.assertIn(words, result.stderr)
        self.assertIn("is not UTF-8", self.jobctl("import", "-", input=b"job \xff\n").stderr)

    def test_dry_run(self) -> None:
        """--dry-run makes nothing, and prints what import reads."""
        text = "job a\nschedule @daily\nstate stopped\ncommand x\n"
        self.assertEqual(self.jobctl("import", "--dry-run", "-", input=text).stdout, text)
        self.assertEqual(self.names(), [])

    def test_options_for_all(self) -> None:
        """-o sets an option of all jobs that are imported."""
        self.jobctl("import", "-", "-o", "timeout=5m", input="job a\nschedule @daily\noption timeout 1m\n")
        self.assertEqual(self.jobctl.jobd.table.job("a").options.timeout, 300.0)


class CrontabTests(ExchangeCase):
    """Crontabs in and out."""

    def test_import(self) -> None:
        """A crontab becomes stopped jobs with its comments, or started ones with --start."""
        result = self.jobctl("import", "--crontab", self.file("tab", CRONTAB))
        self.assertEqual((result.exit_code, result.stdout), (0, "made backup\nmade poll\n"))
        job = self.jobctl.jobd.table.job("backup")
        self.assertEqual((job.schedule_text, job.command, job.started), ("5 4 * * *", "backup --all", False))
        self.assertEqual(
            (job.options.description, dict(job.options.env)), ("Saves it all", {"PATH": "/usr/bin:/bin"})
        )
        self.assertIn("overlap", result.stderr)
        again = self.jobctl("import", "--start", "--crontab", "-", input=CRONTAB)
        self.assertEqual(again.stdout, "changed backup\nchanged poll\n")
        self.assertTrue(self.jobctl.jobd.table.job("backup").started)

    def test_names_are_free(self) -> None:
        """A job of a crontab takes a number where another job has its name, and the same one each time."""
        self.jobctl("add", "backup", "@daily", "x")
        text = "@daily backup a\n@daily backup b\n"
        for outcome in ("made", "kept"):
            result = self.jobctl("import", "--crontab", "-", input=text)
            self.assertEqual(result.stdout, f"{outcome} backup-2\n{outcome} backup-3\n")

    def test_refused(self) -> None:
        """A line that can't be translated stops the import, unless told to go on; the status is 1."""
        text = "0 0 */2 * 1 x\n@daily y\n"
        result = self.jobctl("import", "--crontab", "-", input=text)
        self.assertEqual((result.exit_code, self.names()), (1, []))
        self.assertIn("-:1: day of month '*/2' and weekday '1'", result.stderr)
        result = self.jobctl("import", "--keep-going", "--crontab", "-", input=text)
        self.assertEqual((result.exit_code, self.names()), (1, ["y"]))

    def test_dry_run_without_daemon(self) -> None:
        """--dry-run needs no daemon, and what it prints is what an import makes."""
        path = self.file("tab", CRONTAB)
        dry = run("--addr", "unix:/nowhere", "import", "--dry-run", "--crontab", path)
        self.assertEqual(dry.exit_code, 0)
        self.assertIn("isn't known", dry.stderr)
        self.jobctl("import", "--crontab", path)
        self.assertEqual(self.jobctl("export").stdout.replace(f"owner {ME}\n", ""), dry.stdout)

    def test_export(self) -> None:
        """export --crontab writes what a crontab can say, and says the rest with status 1."""
        self.jobctl("import", "--start", "--crontab", "-", input=CRONTAB)
        result = self.jobctl("export", "--crontab")
        self.assertEqual((result.exit_code, result.stdout), (0, CRONTAB))
        self.jobctl("add", "often", "@every 90s", "x", "--start")
        result = self.jobctl("export", "--crontab")
        self.assertEqual((result.exit_code, result.stdout), (1, CRONTAB))
        self.assertIn("jobctl: often: a crontab has nothing for the schedule '@every 90s'", result.stderr)
        self.jobctl("stop", "backup", "poll")
        result = self.jobctl("export", "--crontab")
        self.assertIn("#5 4 * * * backup --all\n", result.stdout)
        self.assertIn("stopped jobs are comments: backup, poll\n", result.stderr)
        self.assertIn(f"5 4 * * * {ME} backup --all\n", self.jobctl("export", "--system").stdout)

    def test_system(self) -> None:
        """--system reads a file or a directory, without the files that cron ignores there."""
        self.file("one", f"@daily {ME} x\n")
        self.file("two", f"@daily {ME} x\n@daily {ME} y\n")
        self.file("three.dpkg-old", f"@daily {ME} z\n")
        self.file(".placeholder", "# nothing\n")
        result = self.jobctl("import", "--system", str(self.directory))
        self.assertEqual(result.stdout, "made one\nmade two-x\nmade two-y\n")
        self.assertIn("three.dpkg-old: cron ignores", result.stderr)
        self.assertNotIn(".placeholder", result.stderr)
        result = self.jobctl("import", "--system", self.file("crontab", f"@daily {ME} z\n"))
        self.assertEqual(result.stdout, "made z\n")

    def test_users(self) -> None:
        """Root makes jobs of others theirs; a job of somebody who has no account is refused."""
        if os.geteuid() != 0:
            raise SkipTest("only root can speak for others")
        path = self.file("tab", f"@daily nobody-here x\n@daily {ME} y\n")
        result = self.jobctl("import", "--system", path)
        self.assertEqual((result.exit_code, self.names()), (1, []))
        self.assertIn("jobctl: tab-x: jobd lets nobody act as nobody-here here", result.stderr)
        self.assertIn("nothing was made", result.stderr)
        result = self.jobctl("import", "--system", path, "--keep-going")
        self.assertEqual((result.exit_code, self.names()), (1, ["tab-y"]))
        result = self.jobctl("import", "--crontab", "-", "--user", "nobody", input="@daily z\n")
        self.assertEqual((result.exit_code, result.stdout), (0, "made z\n"))
        self.assertEqual(self.jobctl.jobd.table.job("z").owner, "nobody")
        self.assertEqual(self.jobctl("import", "--crontab", "-", input="@daily z\n").stdout, "kept z\n")


class OwnerTests(SynchronousTestCase):
    """Whose a job is, is seen at what the daemon made."""

    def test_nobody_runs_as_another(self) -> None:
        """A daemon that makes the job for another than the crontab names gets it taken away again."""
        me = Peer("a relay", User.by_uid(os.geteuid()), speaks_for_others=False)
        here = Here(self, who=lambda _: me)
        result = here("import", "--start", "--crontab", "-", "--user", "nobody", input="@daily z\n")
        self.assertEqual(result.exit_code, 1)
        self.assertIn(f"it would run as {ME}, not as nobody", result.stderr)
        self.assertEqual(len(here.jobd.table), 0)
