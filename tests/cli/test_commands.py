"""jobctl against a jobd: what each command does, says, and ends with."""

from __future__ import annotations

import json
import os
import tempfile

from click.testing import Result
from twisted.internet.protocol import Factory
from twisted.protocols.wire import Echo
from twisted.trial.unittest import SynchronousTestCase

from jobd.cli import exchange
from jobd.cli.session import Session
from tests.cli.support import Here, run


class CommandCase(SynchronousTestCase):
    """Tests with a jobd and a jobctl for it."""

    def setUp(self) -> None:
        self.jobctl = Here(self)

    def done(self, *arguments: str, **more: object) -> str:
        """What `jobctl ARGUMENTS` prints, which succeeds."""
        result = self.jobctl(*arguments, **more)
        self.assertEqual((result.exit_code, result.stderr), (0, ""))
        return str(result.stdout)

    def refused(self, status: int, words: str, *arguments: str, **more: object) -> Result:
        """`jobctl ARGUMENTS`, which ends with STATUS and one sentence with WORDS in it."""
        result = self.jobctl(*arguments, **more)
        self.assertEqual((result.exit_code, result.stderr.count("\n")), (status, 1), result.stderr)
        self.assertTrue(result.stderr.startswith("jobctl: "), result.stderr)
        self.assertIn(words, result.stderr)
        return result

    def job(self, name: str) -> object:
        return self.jobctl.jobd.table.job(name)


class ChangingTests(CommandCase):
    """add, start, stop, rm, mv, kill, edit, write."""

    def test_add(self) -> None:
        """add makes a stopped job, whose command may hold anything."""
        self.done("add", "a", " 0 5 * * * ", "echo :\n b:c\n")
        job = self.job("a")
        self.assertEqual(
            (job.schedule_text, job.command, job.started), ("0 5 * * *", "echo :\n b:c\n", False)
        )

    def test_add_with_options(self) -> None:
        """add sets options, also those with several values, and starts the job."""
        self.done("add", "a", "@daily", "x", "--start", "-o", "timeout=5m", "-o", "env=A=b=c", "-o", "env=B=")
        job = self.job("a")
        self.assertEqual((job.options.timeout, dict(job.options.env)), (300.0, {"A": "b=c", "B": ""}))
        self.assertTrue(job.started)

    def test_add_what_clone_cannot_take(self) -> None:
        """add also makes a job whose schedule holds colons, or whose command is longer than a message."""
        self.done("add", "a", "@at 2026-12-24T18:00", "x", "-o", "timezone=Asia/Tokyo")
        self.done("add", "b", "@daily", "x" * 200_000)
        self.assertEqual(self.job("a").schedule_text, "@at 2026-12-24T18:00")
        self.assertEqual(self.job("b").command, "x" * 200_000)

    def test_add_refused(self) -> None:
        """What is wrong with a new job is said in the daemon's own sentence, and nothing of it stays."""
        cases = [
            (("a", "61 * * * *", "x"), "minute '61'"),
            (("a", "@at 2020-01-01T0000", "x"), "no time from now on"),
            (("a", "@at 2020-01-01T00:00", "x"), "no time from now on"),
            (("a", "@daily", "x", "-o", "timeout=soon"), "option timeout: 'soon'"),
            (("a", "@daily", "x", "-o", "colour=red"), "no option 'colour'"),
            (("a:b", "@daily", "x"), "job name 'a:b'"),
            (("../a", "@daily", "x"), "job name '../a'"),
            (("a", "@daily", "", "--start"), "no command yet"),
        ]
        for arguments, words in cases:
            with self.subTest(arguments):
                self.refused(1, words, "add", *arguments)
                self.assertEqual(len(self.jobctl.jobd.table), 0)

    def test_add_twice(self) -> None:
        """A name that is taken is refused, and the job that has it stays."""
        self.done("add", "a", "@daily", "x")
        self.refused(1, "there is a job a already", "add", "a", "@hourly", "y")
        self.refused(1, "there is a job a already", "add", "a", "@at 2026-12-24T18:00", "y")
        self.assertEqual(self.job("a").command, "x")

    def test_usage(self) -> None:
        """Wrong usage ends with status 2."""
        for arguments in (
            ["add", "a"],
            ["nonsense"],
            ["add", "a", "@daily", "x", "-o", "y"],
            ["import"],
            ["log", "a", "-n", "x"],
        ):
            with self.subTest(arguments):
                self.assertEqual(self.jobctl(*arguments).exit_code, 2)

    def test_start_and_stop(self) -> None:
        """start and stop take any number of jobs."""
        for name in "ab":
            self.done("add", name, "@daily", "x")
        self.done("start", "a", "b")
        self.assertTrue(self.job("a").started and self.job("b").started)
        self.done("stop", "b", "a")
        self.assertFalse(self.job("a").started or self.job("b").started)

    def test_some_refused(self) -> None:
        """Where one of several jobs is refused the others are changed; the status says what holds for all."""
        for name in "ab":
            self.done("add", name, "@daily", "x")
        result = self.jobctl("start", "nope", "a", "no", "b")
        self.assertEqual(
            (result.exit_code, result.stderr),
            (1, "jobctl: there is no job nope\njobctl: there is no job no\n"),
        )
        self.assertTrue(self.job("a").started and self.job("b").started)
        result = self.jobctl("rm", "nope", "no")
        self.assertEqual((result.exit_code, result.stderr.count("\n")), (3, 2))

    def test_no_such_job(self) -> None:
        """A job that isn't there is status 3, whatever is asked of it."""
        for arguments in (
            ["start", "a"],
            ["stop", "a"],
            ["rm", "a"],
            ["mv", "a", "b"],
            ["run", "a"],
            ["kill", "a"],
            ["show", "a"],
            ["log", "a"],
            ["history", "a"],
            ["next", "a"],
            ["edit", "a"],
            ["export", "a"],
        ):
            with self.subTest(arguments):
                self.refused(3, "there is no job a\n", *arguments)
        self.refused(3, "no job is called a*", "ls", "a*")
        self.refused(3, "/nowhere: no such file", "cat", "/nowhere")
        self.refused(125, "there is no job a\n", "run", "a", "--wait")

    def test_rm_and_mv(self) -> None:
        """mv gives another name, which must be free and one; rm deletes."""
        self.done("add", "a", "@daily", "x")
        self.done("add", "b", "@daily", "y")
        self.refused(1, "there is a job b already", "mv", "a", "b")
        self.refused(1, "job name '-'", "mv", "--", "a", "-")
        self.refused(1, "job name 'b/c'", "mv", "a", "b/c")
        self.done("mv", "a", "c")
        self.done("rm", "b")
        self.assertEqual(self.done("cat", "jobs"), "c\n")

    def test_running(self) -> None:
        """run gives the number of the run; a second one and rm are refused meanwhile; kill ends it."""
        self.done("add", "a", "@daily", "x")
        self.assertEqual(self.done("run", "a"), "1\n")
        self.refused(1, "run 1", "run", "a")
        self.refused(1, "run 1 is in progress", "rm", "a")
        self.assertIn("running", self.done("ls"))
        self.done("kill", "a", "usr1")
        self.refused(1, "no signal 'nonsense'", "kill", "a", "nonsense")
        (process,) = self.jobctl.jobd.spawner.running
        process.exit(0)
        self.done("rm", "a")

    def test_write_and_cat(self) -> None:
        """write sends standard input or its argument to a file, cat prints files byte for byte."""
        self.done("add", "a", "@daily", "x")
        self.done("write", "jobs/a/cmd", input="echo\n\xfcber\n\n".encode())
        self.done("write", "/jobs/a/schedule", "@hourly")
        self.assertEqual(self.done("cat", "jobs/a/cmd", "/jobs/a/schedule"), "echo\n\xfcber\n\n@hourly\n")
        self.refused(1, "'@hour' is no schedule", "write", "jobs/a/schedule", "@hour")
        self.refused(1, "", "write", "/version", "x")
        self.done("write", "ctl", "pause")
        self.assertTrue(self.done("cat", "ctl").startswith("paused\n"))

    def edit(self, program: str) -> Result:
        """What `jobctl edit a` does with an editor that is a line of shell; $1 is the file."""
        with tempfile.NamedTemporaryFile("w", suffix=".sh", delete=False) as script:
            script.write(f"#!/bin/sh\n{program}\n")
        self.addCleanup(os.remove, script.name)
        os.chmod(script.name, 0o700)
        return self.jobctl("edit", "a", env={"EDITOR": script.name, "VISUAL": script.name})

    def test_edit(self) -> None:
        """edit changes what was changed in the editor: all of a job but its owner."""
        self.done("add", "a", "@daily", "x", "-o", "timeout=5m", "-o", "env=A=b")
        script = (
            "sed -i 's/^job a/job b/; s/@daily/@hourly/; s/stopped/started/; s/A=b/A=c/; /timeout/d; "
            "s/command x/command y/' $1"
        )
        self.assertEqual(self.edit(script).exit_code, 0)
        job = self.job("b")
        self.assertEqual((job.schedule_text, job.command, job.started), ("@hourly", "y", True))
        self.assertEqual((job.options.timeout, dict(job.options.env)), (0.0, {"A": "c"}))

    def test_edit_of_nothing(self) -> None:
        """An editor that changes nothing changes nothing."""
        self.done("add", "a", "@daily", "x")
        version = self.job("a").version
        self.assertEqual(self.edit("true").exit_code, 0)
        self.assertEqual(self.job("a").version, version)

    def test_edit_refused(self) -> None:
        """What is wrong with an edited text is said, and the text is kept."""
        self.done("add", "a", "@daily", "x")
        for program, words in (
            ("sed -i s/@daily/@dayly/ $1", "'@dayly' is no schedule"),
            ("sed -i s/^owner.*/owner.nobody/ $1", "line 2"),
            ("sed -i 's/^owner.*/owner nobody/' $1", "the owner stays"),
            ("echo > $1", "one job is expected"),
        ):
            with self.subTest(program):
                result = self.edit(program)
                self.assertEqual(result.exit_code, 1)
                self.assertIn(words, result.stderr)
                kept = result.stderr.strip().rpartition(" ")[2]
                self.addCleanup(os.remove, kept)
                self.assertTrue(os.path.exists(kept))
        self.assertEqual(self.job("a").schedule_text, "@daily")

    def test_edit_all_or_nothing(self) -> None:
        """Where a part of an edited text is refused, nothing of the job is changed."""
        self.done("add", "a", "@daily", "x", "-o", "timeout=5m", "--start")
        self.done("add", "taken", "@daily", "x")
        before = self.done("export", "a")
        for changes in (
            "s/@daily/@hourly/; s/timeout 5m/nice low/",
            "s/timeout 5m/nice 5/; s/@daily/@dayly/; s/command x/command y/",
            "s/timeout 5m/nice 5/; s/^job a/job taken/",
            "s/timeout 5m/nice 5/; s/^job a/job b/; s/started/stopped/; s/@daily/@dayly/",
        ):
            with self.subTest(changes):
                result = self.edit(f"sed -i '{changes}' $1")
                self.assertEqual(result.exit_code, 1)
                self.addCleanup(os.remove, result.stderr.strip().rpartition(" ")[2])
                self.assertEqual(self.done("export", "a"), before)

    def test_no_editor(self) -> None:
        """An editor that fails or isn't there is said in a sentence."""
        self.done("add", "a", "@daily", "x")
        result = self.edit("exit 3")
        self.assertEqual((result.exit_code, result.stderr[:8]), (1, "jobctl: "))


class LookingTests(CommandCase):
    """ls, show, log, history, next, stat."""

    def setUp(self) -> None:
        super().setUp()
        self.done("add", "backup", "0 5 * * *", "tar cf x\ny", "--start", "-o", "description=All of it")
        self.done("add", "mail", "@every 90s", "x")

    def run_once(self, status: int) -> None:
        """Run the job backup, and end it with STATUS."""
        self.done("run", "backup")
        (process,) = self.jobctl.jobd.spawner.running
        process.exit(status)

    def test_ls(self) -> None:
        """ls is a table of all jobs, or of those that match."""
        lines = self.done("ls").splitlines()
        self.assertEqual(
            [line.split()[:2] for line in lines],
            [["NAME", "STATE"], ["backup", "started"], ["mail", "stopped"]],
        )
        self.assertTrue(lines[1].endswith("  0 5 * * *"))
        self.assertEqual(len(self.done("ls", "b*", "nope").splitlines()), 2)

    def test_ls_of_nothing(self) -> None:
        """ls of no jobs prints nothing, and as JSON an empty list."""
        self.done("rm", "backup", "mail")
        self.assertEqual((self.done("ls"), self.done("ls", "--json")), ("", "[]\n"))

    def test_ls_while_paused(self) -> None:
        """ls says on stderr that nothing runs, for as long as jobd is paused."""
        self.done("write", "ctl", "pause")
        self.assertIn("jobd is paused", self.jobctl("ls").stderr)
        self.done("write", "ctl", "resume")
        self.done("ls")

    def test_ls_json(self) -> None:
        """ls --json has the facts of each job, counts as numbers."""
        self.run_once(3)
        backup, mail = json.loads(self.done("ls", "--json"))
        self.assertEqual(
            (backup["name"], backup["state"], backup["schedule"]), ("backup", "started", "0 5 * * *")
        )
        self.assertEqual(
            (backup["next"], backup["runs"], backup["last-exit"]), ("2026-01-01T05:00:00Z", 1, "3")
        )
        self.assertEqual((mail["state"], mail["runs"]), ("stopped", 0))
        self.assertNotIn("next", mail)

    def test_colours(self) -> None:
        """States and outcomes are coloured on a terminal, and nowhere else, nor where NO_COLOR is set."""
        self.assertNotIn("\x1b", self.done("ls"))
        self.assertIn("\x1b[32mstarted\x1b[0m", self.done("ls", color=True))
        self.assertNotIn("\x1b", self.done("ls", color=True, env={"NO_COLOR": "1"}))

    def test_show(self) -> None:
        """show says all there is, the schedule in words too."""
        text = self.done("show", "backup")
        for words in (
            "owner    ",
            "started",
            "(At 05:00)",
            "2026-01-01",
            "description All of it",
            "tar cf x\n         y\n",
        ):
            self.assertIn(words, text)
        facts = json.loads(self.done("show", "--json", "backup"))
        self.assertEqual(
            (facts["command"], facts["words"], facts["state"]), ("tar cf x\ny", "At 05:00", "started")
        )
        self.assertEqual((len(facts["upcoming"]), facts["upcoming"][0]), (10, "2026-01-01T05:00:00+00:00"))
        self.assertIn("description All of it", facts["options"])

    def test_history(self) -> None:
        """history is a line a run, the newest last."""
        self.assertEqual(self.done("history", "backup"), "")
        for status in (0, 3):
            self.run_once(status)
        lines = self.done("history", "backup").splitlines()
        self.assertEqual([line.split()[0] for line in lines], ["RUN", "1", "2"])
        self.assertIn("failed", lines[2])
        self.assertIn("by hand", lines[2])
        self.assertEqual(len(self.done("history", "-n", "1", "backup").splitlines()), 2)
        runs = json.loads(self.done("history", "--json", "backup"))
        self.assertEqual([(run["run"], run["outcome"]) for run in runs], [(1, "ok"), (2, "failed")])

    def test_log(self) -> None:
        """log prints the log, or its last lines."""
        self.run_once(3)
        lines = self.done("log", "backup").splitlines()
        self.assertTrue(lines[0].endswith(":started"))
        self.assertTrue(lines[-1].endswith("exit status 3"))
        self.assertEqual(self.done("log", "-n", "1", "backup").splitlines(), lines[-1:])
        self.assertEqual(self.done("log", "-n", "0", "backup"), "")
        self.assertEqual(self.done("log", "--run", "1", "backup"), "")
        self.refused(3, "/jobs/backup/runs/9/output", "log", "--run", "9", "backup")

    def test_next_of_jobs(self) -> None:
        """next lists the times of a job, or of all that are started, the earliest first."""
        self.assertEqual(len(self.done("next", "backup").splitlines()), 5)
        self.assertEqual(self.done("next", "-n", "1", "backup"), "2026-01-01 05:00:00 +0000 UTC\n")
        self.done("add", "early", "0 4 * * *", "x", "--start")
        found = json.loads(self.done("next", "--json"))
        self.assertEqual([each["name"] for each in found], ["early", "backup"])
        self.assertEqual(
            json.loads(self.done("next", "--json", "-n", "1", "early")), ["2026-01-01T04:00:00+00:00"]
        )
        self.assertIn("early", self.done("next"))

    def test_stat(self) -> None:
        """stat has mode, owner and length."""
        line = self.done("stat", "jobs/backup").split()
        self.assertEqual(line[0], "drwx--x--x")
        facts = json.loads(self.done("stat", "--json", "jobs/backup/cmd"))[0]
        self.assertEqual((facts["mode"], facts["length"]), ("-rw-------", 11))

    def completed(self, words: str) -> list[str]:
        """What a shell offers for the last of WORDS, `_` for one not begun."""
        given = words.replace("_", "").split(" ")
        variables = {
            "_JOBCTL_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(given),
            "COMP_CWORD": str(len(given) - 1),
        }
        return self.jobctl(env=variables).stdout.replace("plain,", "").split()

    def test_completion(self) -> None:
        """Names of jobs, paths, options, signals and zones complete."""
        for words, found in (
            ("jobctl st", ["start", "stat", "stop"]),
            ("jobctl start b", ["backup"]),
            ("jobctl start backup _", ["backup", "mail"]),
            ("jobctl ls m", ["mail"]),
            ("jobctl next m", ["mail"]),
            ("jobctl kill mail us", ["USR1", "USR2"]),
            ("jobctl add x @daily y -o time", ["timeout=", "timezone="]),
            ("jobctl next --tz Asia/Toky", ["Asia/Tokyo"]),
            ("jobctl cat jo", ["jobs/"]),
            ("jobctl cat /jobs/mail/s", ["/jobs/mail/schedule", "/jobs/mail/status"]),
            ("jobctl cat /jobs/nope/", []),
        ):
            with self.subTest(words):
                self.assertEqual(self.completed(words), found)

    def test_shells(self) -> None:
        """Each shell gets its script."""
        for shell in ("bash", "zsh", "fish"):
            self.assertIn("_JOBCTL_COMPLETE", self.done("completion", shell))


class AloneTests(SynchronousTestCase):
    """What takes no daemon, and what happens without one."""

    def test_next(self) -> None:
        """next explains a schedule and lists its times without a daemon."""
        result = run(
            "--addr",
            "unix:/nowhere",
            "next",
            "30 2 * * MON-FRI",
            "--tz",
            "Europe/Berlin",
            "--after",
            "2026-03-28",
            "-n",
            "2",
        )
        self.assertEqual(result.exit_code, 0)
        self.assertEqual(
            result.stdout,
            "At 02:30, Monday through Friday\n"
            "Mon 2026-03-30 02:30:00 +0200 CEST  in 2 days\n"
            "Tue 2026-03-31 02:30:00 +0200 CEST  in 3 days\n",
        )

    def test_next_json(self) -> None:
        """next --json has the times with their offsets."""
        found = json.loads(
            run("next", "@daily", "--tz", "UTC", "--after", "2026-01-01T00:00Z", "-n", "1", "--json").stdout
        )
        self.assertEqual((found["times"], found["words"]), (["2026-01-02T00:00:00+00:00"], "At 00:00"))

    def test_next_refused(self) -> None:
        """What is wrong is said: of the schedule with status 1, of the options with 2."""
        cases = [
            (1, "minute '61'", ["61 * * * *"]),
            (1, "no time later than", ["@at 2020-01-01T0000"]),
            (2, "no time zone 'Nowhere'", ["@daily", "--tz", "Nowhere"]),
            (2, "--after 'soon'", ["@daily", "--after", "soon"]),
        ]
        for status, words, arguments in cases:
            with self.subTest(arguments):
                result = run("next", *arguments)
                self.assertEqual(result.exit_code, status)
                self.assertIn(words, result.stderr)
        self.assertEqual(run("next", "@reboot").exit_code, 0)

    def test_no_daemon(self) -> None:
        """Without a daemon the address and the reason are said, with status 4."""
        for address, words in (
            ("unix:/nowhere/socket", "unix:/nowhere/socket: no such file or directory"),
            ("/nowhere/socket", "/nowhere/socket: no such file or directory"),
            ("127.0.0.1:1", "127.0.0.1:1: connection refused"),
            (":1", ":1: connection refused"),
            ("[::1]:1", "[::1]:1: "),
        ):
            with self.subTest(address):
                result = run("--addr", address, "ls")
                self.assertEqual(result.exit_code, 4)
                self.assertIn(words, result.stderr)
                self.assertEqual(result.stderr.count("\n"), 1)

    def test_wrong_address(self) -> None:
        """An address that is none is status 2."""
        for address in ("a:b", "unix:", "127.0.0.1:99999", ""):
            with self.subTest(address):
                result = run("--addr", address, "ls")
                self.assertEqual((result.exit_code, result.stderr.count("\n")), (2, 1))

    def test_no_jobd(self) -> None:
        """What answers but speaks no 9P is no jobd, with status 4."""
        here = Here(self)
        path = here.address.removeprefix("unix:") + "-echo"
        port = here.reactor.listenUNIX(path, Factory.forProtocol(Echo))
        self.addCleanup(port.stopListening)
        result = run("ls", obj=Session(f"unix:{path}", here.drive))
        self.assertEqual(result.exit_code, 4)
        self.assertIn("is no jobd", result.stderr)

    def test_completion_without_daemon(self) -> None:
        """Without a daemon no names complete, and nothing is said."""
        result = run(
            env={
                "_JOBCTL_COMPLETE": "bash_complete",
                "COMP_WORDS": "jobctl start b",
                "COMP_CWORD": "2",
                "JOBD_ADDR": "unix:/nowhere",
            }
        )
        self.assertEqual(result.output.strip(), "")

    def test_interrupt(self) -> None:
        """An interrupt where no daemon is asked is status 130 too, and needs no words."""

        def interrupted(_: str) -> str:
            raise KeyboardInterrupt

        self.patch(exchange, "_text_of", interrupted)
        result = run("import", "-")
        self.assertEqual((result.exit_code, result.output), (130, ""))
