"""The original's jobs.db."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from jobd.jobs.legacy import LegacyJob, read_jobs_db


class ReadJobsDb(SynchronousTestCase):
    """What is in the file becomes jobs, and what is wrong with it sentences."""

    def read(self, content: bytes) -> tuple[list[LegacyJob], list[str]]:
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(content)
        result = read_jobs_db(path)
        with open(path, "rb") as file:
            self.assertEqual(file.read(), content)
        return result

    def test_jobs(self) -> None:
        """Each line is a job; the command is all after the second colon."""
        jobs, problems = self.read(
            b"hello:0 0/5 * * * ? *:echo hello world\n"
            b"backup:@daily:tar c / | ssh host:2222 'cat > x:y'\n"
            b"late:* * * * *: sleep 5 "
        )
        self.assertEqual(
            jobs,
            [
                LegacyJob("hello", "0 0/5 * * * ? *", "echo hello world"),
                LegacyJob("backup", "@daily", "tar c / | ssh host:2222 'cat > x:y'"),
                LegacyJob("late", "* * * * *", " sleep 5 "),
            ],
        )
        self.assertEqual(problems, [])

    def test_nothing(self) -> None:
        """An empty file and empty lines are no jobs and no problems."""
        for content in (b"", b"\n", b"\n  \n\n"):
            self.assertEqual(self.read(content), ([], []))

    def test_broken_lines(self) -> None:
        """A line with fewer fields, as a newline in a command leaves it, is reported with its number."""
        jobs, problems = self.read(b"a:@daily:echo 'x\ny'\nb:@daily\nc:@daily:\n")
        self.assertEqual(jobs, [LegacyJob("a", "@daily", "echo 'x"), LegacyJob("c", "@daily", "")])
        self.assertEqual(
            problems,
            [
                'line 2: no NAME:SCHEDULE:COMMAND: "y\'"',
                "line 3: no NAME:SCHEDULE:COMMAND: 'b:@daily'",
            ],
        )

    def test_same_name(self) -> None:
        """Of two lines with one name the first counts."""
        jobs, problems = self.read(b"a:@daily:one\na:@hourly:two\n")
        self.assertEqual(jobs, [LegacyJob("a", "@daily", "one")])
        self.assertEqual(problems, ["line 2: a second job 'a'; the first one counts"])

    def test_any_bytes(self) -> None:
        """Bytes that are no UTF-8 come with surrogates; a long line is cut in its sentence."""
        jobs, problems = self.read(b"a:@daily:echo \xff\n" + b"\x00\xfe" * 500)
        self.assertEqual(jobs, [LegacyJob("a", "@daily", "echo \udcff")])
        self.assertLess(len(problems[0]), 500)

    def test_no_file(self) -> None:
        """A file that can't be read is an OSError."""
        self.assertRaises(FileNotFoundError, read_jobs_db, self.mktemp())
