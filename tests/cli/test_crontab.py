"""Crontabs, read."""

from __future__ import annotations

import subprocess

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobd.cli.cronexport import write_crontab
from jobd.cli.cronnames import name_for
from jobd.cli.crontab import read_crontab, split_input
from jobd.cli.definition import Definition

PATH = "env PATH=/usr/bin:/bin"

# A crontab, and of each job its name, schedule, command and options.
CRONTABS: list[tuple[str, list[tuple[str, str, str, tuple[str, ...]]]]] = [
    ("", []),
    ("\n# a comment\n\n", []),
    ("5 4 * * * /bin/x\n", [("x", "5 4 * * *", "/bin/x", (PATH,))]),
    ("\t 5\t4  * * *\t x  y \n", [("x", "5 4 * * *", "x  y ", (PATH,))]),
    ("@daily x\n", [("x", "@daily", "x", (PATH,))]),
    ("@reboot x\n", [("x", "@reboot", "x", (PATH,))]),
    # Variables are set for the lines below them.
    (
        "@daily x\nA = b c \nPATH=/bin\n@daily y\n",
        [("x", "@daily", "x", (PATH,)), ("y", "@daily", "y", ("env A=b c", "env PATH=/bin"))],
    ),
    ("A=' b'\nB=\"\"\n'C' = c\n@daily x\n", [("x", "@daily", "x", ("env A= b", "env B=", "env C=c", PATH))]),
    ("A=$HOME/x # y\n@daily x\n", [("x", "@daily", "x", ("env A=$HOME/x # y", PATH))]),
    ("SHELL=/bin/bash\n@daily x\n", [("x", "@daily", "x", ("shell /bin/bash", PATH))]),
    ("SHELL=/bin/sh\n@daily x\n", [("x", "@daily", "x", (PATH,))]),
    ("HOME=/srv\n@daily x\n", [("x", "@daily", "x", ("dir /srv", "env HOME=/srv", PATH))]),
    ("MAILTO=me\n@daily x\n", [("x", "@daily", "x", ("env MAILTO=me", PATH))]),
    ("CRON_TZ=Europe/Berlin\n@daily x\n", [("x", "@daily", "x", ("timezone Europe/Berlin", PATH))]),
    ("LOGNAME=you\n@daily x\n", [("x", "@daily", "x", (PATH,))]),
    # An assignment in a command is part of it.
    (
        "5 4 * * * A=b x\n@daily A=b x\n",
        [("x", "5 4 * * *", "A=b x", (PATH,)), ("x", "@daily", "A=b x", (PATH,))],
    ),
    # The comment above a line describes it.
    (
        "# The first\n#  and more.\n@daily x\n# far\n\n@daily y\n# z\nA=b\n@daily z\n",
        [
            ("x", "@daily", "x", ("description The first and more.", PATH)),
            ("y", "@daily", "y", (PATH,)),
            ("z", "@daily", "z", ("env A=b", PATH)),
        ],
    ),
    # An entry that is commented out describes nothing.
    ("# old\n#5 4 * * * x\n# new\n@daily y\n", [("y", "@daily", "y", ("description new", PATH))]),
    # What follows % is standard input.
    ("@daily date +\\%F\n", [("date", "@daily", "date +%F", (PATH,))]),
    ("@daily mail me%a%b\n", [("mail", "@daily", "(\nmail me\n) <<'INPUT'\na\nb\nINPUT", (PATH,))]),
    ("@daily mail%INPUT\n", [("mail", "@daily", "(\nmail\n) <<'INPUT_'\nINPUT\nINPUT_", (PATH,))]),
    ("@daily true%\n", [("true", "@daily", "true", (PATH,))]),
]

# Lines that are refused, and a word of the sentence.
REFUSED = [
    ("61 * * * * x", "minute '61'"),
    ("* * * * *", "a schedule and a command"),
    ("* * * *", "a schedule and a command"),
    ("@daily", "a schedule and a command"),
    ("@daily ", "a schedule and a command"),
    ("@fortnightly x", "@fortnightly"),
    ("@Daily x", "@Daily"),
    ("0 0 */2 * 1 x", "which jobd can't say"),
    ("A-B=c", "'A-B' can't be the name of a variable"),
    ("A='b' c", "a quote"),
    ("A='b ' ", "white space at the end"),
    ("SHELL=bash", "no absolute path"),
    ("HOME=~", "no absolute path"),
    ("CRON_TZ=a b", "no name of a time zone"),
]

# The command of a crontab, what the shell gets, and what it reads.
INPUTS = [
    ("x", "x", None),
    ("x%", "x", ""),
    ("x%a", "x", "a\n"),
    ("x%a%%b%", "x", "a\n\nb\n"),
    (r"x \% y", "x % y", None),
    (r"x \\% y", "x \\\\", " y\n"),
    (r"x \n%a\%b\n", "x \\n", "a%b\\n\n"),
    (r"x%a\\%b", "x", "a\\%b\n"),
]

NAMES = [
    ("/usr/local/bin/backup.sh --all", "backup.sh"),
    ("cd / && run-parts --report /etc/cron.hourly", "cron.hourly"),
    ("test -x /usr/sbin/anacron || ( cd / && run-parts --report /etc/cron.daily )", "cron.daily"),
    ("[ -x /usr/lib/php/sessionclean ] && /usr/lib/php/sessionclean", "sessionclean"),
    ("A=b nice -n 10 ionice -c3 tar cf x y", "tar"),
    ("flock -n /run/lock/x timeout 5m /opt/x/update", "update"),
    ("python3 -u /srv/job.py", "job.py"),
    ("python3 -V", "python3"),
    ('"/opt/my tool/run" x', "my"),
    ("", "job"),
    ("&&", "job"),
    ("/", "job"),
    ("ünicode", "nicode"),
]


class CrontabTests(SynchronousTestCase):
    """`read_crontab`."""

    def test_crontabs(self) -> None:
        """Each of these crontabs gives the jobs beside it."""
        for text, expected in CRONTABS:
            with self.subTest(text):
                found = read_crontab(text, "crontab")
                self.assertEqual(found.refused, [])
                jobs = [(job.name, job.schedule, job.command, job.options) for job in found.jobs]
                self.assertEqual(jobs, expected)

    def test_refused(self) -> None:
        """Each of these lines is refused, with its number, and the others are read."""
        for line, words in REFUSED:
            with self.subTest(line):
                found = read_crontab(f"@daily x\n{line}\n@daily y\n", "tab")
                self.assertEqual([job.name for job in found.jobs], ["x", "y"])
                self.assertEqual(len(found.refused), 1)
                self.assertTrue(found.refused[0].startswith("tab:2: "))
                self.assertIn(words, found.refused[0])

    def test_input_takes_a_shell_that_knows_it(self) -> None:
        """What follows % is refused where the shell has no here-documents of that kind."""
        found = read_crontab("SHELL=/bin/csh\n@daily x%y\n", "tab")
        self.assertEqual(found.jobs, [])
        self.assertIn("/bin/csh", found.refused[0])

    def test_system(self) -> None:
        """A system crontab has a user in each line, and a job is that user's."""
        found = read_crontab("5 4 * * * glenda x y\n@daily\troot\tz\n* * * * * root\n", "tab", system=True)
        self.assertEqual([(job.owner, job.command) for job in found.jobs], [("glenda", "x y"), ("root", "z")])
        self.assertIn("a schedule, a user and a command", found.refused[0])

    def test_owner(self) -> None:
        """The jobs of another crontab are all its user's."""
        self.assertEqual(read_crontab("@daily x\n", "tab", owner="glenda").jobs[0].owner, "glenda")

    def test_names_from_the_file(self) -> None:
        """A file with one line gives its name to the job; with several, in front of the command's."""
        one = read_crontab("@daily x\n", "tab", base="php")
        two = read_crontab("@daily x\n@daily y\n", "tab", base="php")
        self.assertEqual([job.name for job in one.jobs + two.jobs], ["php", "php-x", "php-y"])

    def test_notes(self) -> None:
        """What cron understands otherwise is said, with the number of the line."""
        text = "MAILTO=me\nCRON_TZ=UTC\nRANDOM_DELAY=5\nLOGNAME=x\n*/60 3 * * * x"
        notes = read_crontab(text, "tab").notes
        starts = [
            "tab: ",
            "tab:1: MAILTO",
            "tab:2: CRON_TZ",
            "tab:3: RANDOM_DELAY",
            "tab:4: LOGNAME",
            "tab:5: ",
        ]
        for note, start in zip(notes, starts, strict=True):
            self.assertTrue(note.startswith(start), note)

    def test_inputs(self) -> None:
        r"""% ends the command and lines of its input, and \% is a %."""
        for text, command, given_input in INPUTS:
            with self.subTest(text):
                self.assertEqual(split_input(text), (command, given_input))

    @settings(deadline=None, max_examples=25)
    @given(st.lists(st.text("ab'\"\\$` EOFINPUT_%", max_size=12), min_size=1, max_size=4).map("%".join))
    def test_input_arrives(self, written: str) -> None:
        """A shell that runs the job's command hands on exactly the input that cron would."""
        found = read_crontab(f"@daily cat%{written}\n", "tab")
        printed = subprocess.run(
            ["/bin/sh", "-c", found.jobs[0].command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
        )
        self.assertEqual(printed.stdout.decode(), split_input(f"cat%{written}")[1])

    def test_exit_status_with_input(self) -> None:
        """A command with input ends as it would without."""
        command = read_crontab("@daily cat >/dev/null; exit 7%x\n", "tab").jobs[0].command
        self.assertEqual(subprocess.run(["/bin/sh", "-c", command], check=False).returncode, 7)

    def test_names(self) -> None:
        """A job without a name is called after what it runs."""
        for command, name in NAMES:
            with self.subTest(command):
                self.assertEqual(name_for(command), name)

    @given(st.text())
    def test_any_text_is_read(self, text: str) -> None:
        """Any text is read: each line is a job, a refusal, or nothing."""
        found = read_crontab(text, "tab")
        self.assertLessEqual(len(found.jobs) + len(found.refused), text.count("\n") + 1)


# Jobs, and the crontab that says them.
WRITTEN: list[tuple[list[Definition], str]] = [
    ([], ""),
    (
        [Definition("a", "5 4 * * *", "x", (PATH,), True)],
        "5 4 * * * x\n",
    ),
    (
        [Definition("a", "5 4 * * *", "date +%F", (), True)],
        "PATH=/usr/local/bin:/usr/bin:/bin\n5 4 * * * date +\\%F\n",
    ),
    (
        [
            Definition(
                "a", "@daily", "x", ("description Says x", "shell /bin/bash", "catchup none", PATH), True
            )
        ],
        "SHELL=/bin/bash\n# Says x\n@daily x\n",
    ),
    ([Definition("a", "@daily", "x", (PATH,), False)], "#@daily x\n"),
    # Those with fewer variables come first, since none can be unset.
    (
        [
            Definition("a", "@daily", "x", ("timezone UTC", "env A= b", PATH), True),
            Definition("b", "@daily", "y", (PATH,), True),
        ],
        '@daily y\nA=" b"\nCRON_TZ=UTC\n@daily x\n',
    ),
    (
        [Definition("a", "@daily", "x", ("dir /srv", "env HOME=/srv", PATH), True)],
        "HOME=/srv\n@daily x\n",
    ),
]

UNWRITABLE = [
    (Definition("a", "@every 90s", "x"), "@every 90s"),
    (Definition("a", "@daily", "x\ny"), "several lines"),
    (Definition("a", "@daily", ""), "several lines"),
    (Definition("a", "@daily", " x"), "another command"),
    (Definition("a", "@daily", r"x \% y"), "another command"),
    (Definition("a", "@daily", "x", ("timeout 1m",)), "timeout"),
    (Definition("a", "@daily", "x", ("overlap queue 3", "umask 077")), "overlap, umask"),
    (Definition("a", "@daily", "x", ("dir /srv",)), "dir"),
    (Definition("a", "@daily", "x", ("env A='\"",)), "another command"),
    (Definition("a", "", "x"), "schedule ''"),
]


class WriteCrontabTests(SynchronousTestCase):
    """`write_crontab`."""

    def test_written(self) -> None:
        """Each of these lists of jobs becomes the crontab beside it."""
        for jobs, text in WRITTEN:
            with self.subTest(text):
                written = write_crontab(jobs)
                self.assertEqual((written.text, written.refused), (text, []))

    def test_unwritable(self) -> None:
        """What a crontab can't say is refused, with the name of the job, and the others are written."""
        good = Definition("b", "@daily", "y", (PATH,), True)
        for job, words in UNWRITABLE:
            with self.subTest(job):
                written = write_crontab([job, good])
                self.assertEqual(written.text, "@daily y\n")
                self.assertEqual(len(written.refused), 1)
                self.assertTrue(written.refused[0].startswith("a: "))
                self.assertIn(words, written.refused[0])

    def test_variables_that_exclude_each_other(self) -> None:
        """A job that would inherit a variable from another is refused."""
        jobs = [Definition(name, "@daily", "x", (f"env {name}=1", PATH), True) for name in "ab"]
        written = write_crontab(jobs)
        self.assertEqual(written.text, "a=1\n@daily x\n")
        self.assertIn("b: ", written.refused[0])

    def test_users(self) -> None:
        """A system crontab has the owners in its lines; any other has one owner."""
        jobs = [Definition(name, "@daily", "x", (PATH,), True, owner) for name, owner in ("ax", "by")]
        self.assertEqual(write_crontab(jobs, system=True).text, "@daily x x\n@daily y x\n")
        self.assertIn("x, y", write_crontab(jobs).refused[0])

    @settings(deadline=None)
    @given(
        st.text("ab%\\ #='\"", min_size=1, max_size=20),
        st.lists(st.tuples(st.sampled_from("AB"), st.text("a \"'#", max_size=5)), max_size=2),
    )
    def test_reads_back(self, command: str, variables: list[tuple[str, str]]) -> None:
        """What is written reads back as the same command with the same variables."""
        options = tuple(f"env {name}={value}" for name, value in sorted(dict(variables).items()))
        job = Definition("a", "@daily", command, (*options, PATH), True)
        written = write_crontab([job])
        if not written.refused:
            (back,) = read_crontab(written.text, "tab").jobs
            self.assertEqual((back.command, back.options), (job.command, job.options))
