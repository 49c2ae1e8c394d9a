"""What is written: messages, commands, and the directories of jobs."""

from __future__ import annotations

import errno
import signal

from twisted.internet.defer import fail
from twisted.trial.unittest import SynchronousTestCase

from jobd.jobs.store import StoreError
from jobd.ninep.interfaces import DMDIR, DMSETUID, OAPPEND, ORDWR, OTRUNC, OWRITE, SetStat
from jobd.ninep.remote import RemoteFid
from jobd.tree.control import signal_number
from tests.tree import TreeTest, in_each_dialect

MIB = 1 << 20


@in_each_dialect
class CloneTest(TreeTest):
    """A message to `clone`."""

    def test_makes_a_stopped_job(self) -> None:
        """The command is all that follows the second colon, less one final newline; white space goes."""
        for message, name, schedule, cmd in (
            ("hello:* * * * *:echo hello world", "hello", "* * * * *", "echo hello world\n"),
            (" spaced :\t@hourly :  echo  a : b ", "spaced", "@hourly", "  echo  a : b \n"),
            ("lines:@daily:one\ntwo\n", "lines", "@daily", "one\ntwo\n"),
            ("newlines:@daily:one\n\n", "newlines", "@daily", "one\n\n"),
            ("a.b-c_D9:@daily:x", "a.b-c_D9", "@daily", "x\n"),
            ("umlaut:@daily:echo grüße", "umlaut", "@daily", "echo grüße\n"),
            ("n" * 128 + ":@daily:x", "n" * 128, "@daily", "x\n"),
        ):
            self.write("/clone", message)
            self.assertEqual(self.read(f"/jobs/{name}/cmd"), cmd)
            self.assertEqual(self.read(f"/jobs/{name}/schedule"), schedule + "\n")
            self.assertEqual(self.read(f"/jobs/{name}/ctl"), "stopped\n")

    def test_refusals(self) -> None:
        """A message that is no definition makes nothing, and `/error` names what is wrong with it."""
        self.make("taken")
        for message, number, about in (
            (b"", errno.EINVAL, None),
            (b"hello", errno.EINVAL, "two colons"),
            (b"hello:* * * * *", errno.EINVAL, "two colons"),
            (b"hello::x", errno.EINVAL, "no schedule"),
            (b":* * * * *:x", errno.EINVAL, "name"),
            (b"..:* * * * *:x", errno.EINVAL, "name"),
            (b"a b:* * * * *:x", errno.EINVAL, "name"),
            (b"-a:* * * * *:x", errno.EINVAL, "name"),
            (b"a.:* * * * *:x", errno.EINVAL, "name"),
            (b"n" * 129 + b":* * * * *:x", errno.EINVAL, "name"),
            (b"hello:60 * * * *:x", errno.EINVAL, "minute"),
            (b"hello:* * * *:x", errno.EINVAL, "schedule"),
            (b"hello:0 0 30 2 *:x", errno.EINVAL, "schedule"),
            (b"hello:0 0 0 1 1 ? 2000:x", errno.EINVAL, "from now on"),
            (b"hello:* * * * *:a\0b", errno.EINVAL, "NUL"),
            (b"hello:* * * * *:\xff", errno.EINVAL, "UTF-8"),
            (b"taken:* * * * *:x", errno.EEXIST, "already"),
        ):
            if about is None:
                fid = self.open("/clone", OWRITE)
                self.refused(number, fid.write(0, message))
                continue
            self.assert_refused(number, "/clone", message)
            self.assertIn(about, self.errors()[-1], message)
        self.assertEqual(self.names("/jobs"), ["taken"])

    def test_offset_means_nothing(self) -> None:
        """Each Twrite is one message, wherever the client takes it to be."""
        fid = self.open("/clone", OWRITE)
        self.successResultOf(fid.write(0, b"one:@daily:x"))
        self.successResultOf(fid.write(12, b"two:@daily:x"))
        self.assertEqual(self.names("/jobs"), ["one", "two"])

    def test_reads_empty(self) -> None:
        """`clone` is empty."""
        self.assertEqual((self.read("/clone"), self.length("/clone")), ("", 0))


@in_each_dialect
class CtlTest(TreeTest):
    """Messages to the ctl files."""

    def setUp(self) -> None:
        super().setUp()
        self.make()

    def test_start_and_stop(self) -> None:
        """A verb is taken in any case, white space around it; one that changes nothing leaves no line."""
        log = []
        for verb, state in (
            ("start", "started"),
            (" Start\n", "started"),
            ("STOP", "stopped"),
            ("\tstop ", "stopped"),
        ):
            self.write("/jobs/hello/ctl", verb)
            self.assertEqual(self.read("/jobs/hello/ctl"), state + "\n")
            log.append(self.read("/jobs/hello/log").count("\n"))
        self.assertEqual(log, [1, 1, 2, 2])

    def test_refusals(self) -> None:
        """Anything else is refused, and changes nothing."""
        for verb in (
            "",
            "bogus",
            "start now",
            "start\nrun\n",
            "kill TERM 9",
            "kill NOSUCH",
            "kill 0",
            b"\xff",
            "run 2",
        ):
            fid = self.open("/jobs/hello/ctl", OWRITE)
            self.refused(errno.EINVAL, fid.write(0, verb if isinstance(verb, bytes) else verb.encode()))
        self.assertEqual(self.read("/jobs/hello/ctl"), "stopped\n")
        self.assertIn("start, stop, run or kill", self.errors()[-1])

    def test_a_job_without_schedule_or_command(self) -> None:
        """An empty job is not started: `/error` says what it needs."""
        self.successResultOf(self.client.mkdir("/jobs/empty"))
        self.assert_refused(errno.EINVAL, "/jobs/empty/ctl", "start")
        self.assertIn("no command", self.errors()[-1])
        self.write("/jobs/empty/cmd", "true")
        self.assert_refused(errno.EINVAL, "/jobs/empty/ctl", "start")
        self.assertIn("schedule", self.errors()[-1])

    def test_run_is_answered(self) -> None:
        """After `run` the next read at any offset gives the number, then comes the end, then the state."""
        fid = self.open("/jobs/hello/ctl", ORDWR)
        self.assertEqual(self.part(fid), "stopped\n")
        self.successResultOf(fid.write(0, b"run"))
        self.assertEqual([self.part(fid, 8), self.part(fid, 10)], ["1\n", ""])
        self.assertEqual(self.part(fid), "stopped\n")
        self.jobd.spawner.running[0].exit()
        self.successResultOf(fid.write(0, b"run"))
        # Byte by byte, as the `read` of a shell does.
        self.assertEqual([self.part(fid, n, 1) for n in range(4)], ["2", "\n", "", "p"])

    def test_run_where_it_may_not(self) -> None:
        """`run` of a job whose run is in progress is EBUSY where its overlap would skip it."""
        self.write("/jobs/hello/ctl", "run")
        self.assert_refused(errno.EBUSY, "/jobs/hello/ctl", "run")

    def test_kill(self) -> None:
        """`kill` without a run in progress is refused."""
        self.assert_refused(errno.EBUSY, "/jobs/hello/ctl", "kill")
        self.assertIn("no run is in progress", self.errors()[-1])

    def test_pause(self) -> None:
        """`/ctl` pauses everything, over a restart, and resumes."""
        self.write("/jobs/hello/ctl", "start")
        self.write("/ctl", "Pause\n")
        self.assertEqual(self.read("/ctl").splitlines()[0], "paused")
        self.jobd.clock.pass_time(120)
        self.jobd.restart()
        self.client = self.connect()
        self.assertEqual(self.read("/ctl").splitlines()[0], "paused")
        self.jobd.clock.pass_time(120)
        self.assertEqual(self.jobd.spawner.processes, [])
        self.write("/ctl", "resume")
        self.assertEqual(self.read("/ctl").splitlines()[0], "running")
        self.assertEqual(self.jobd.spawner.processes, [])
        self.jobd.clock.pass_time(60)
        self.assertEqual(len(self.jobd.spawner.processes), 1)
        self.assert_refused(errno.EINVAL, "/ctl", "halt")
        self.assertIn("pause or resume", self.errors()[-1])

    def test_facts(self) -> None:
        """`/ctl` tells the state and then facts, an attr=value line each."""
        self.assertRegex(
            self.read("/ctl"), r"\Arunning\njobs=1\nruns=0\nwaiting=0\ntimezone=UTC\nversion=\S+\n\Z"
        )


@in_each_dialect
class CommandTest(TreeTest):
    """A text written to `cmd`."""

    def setUp(self) -> None:
        super().setUp()
        self.make(command="old")

    def close(self, fid: RemoteFid) -> None:
        self.successResultOf(fid.clunk())

    def stored(self) -> str:
        return self.read("/jobs/hello/cmd")

    def test_takes_effect_at_the_clunk(self) -> None:
        """The command that runs is the old one until the file is closed."""
        fid = self.open("/jobs/hello/cmd", OWRITE | OTRUNC)
        self.successResultOf(fid.write(0, b"echo "))
        self.assertEqual(self.stored(), "old\n")
        self.successResultOf(fid.write(5, b"new\n"))
        self.assertEqual(self.stored(), "old\n")
        self.assertEqual(self.command_of_run(1), "argv2=old")
        self.jobd.spawner.running[0].exit()
        self.close(fid)
        self.assertEqual(self.stored(), "echo new\n")
        self.assertEqual(self.command_of_run(2), "argv2='echo new'")

    def command_of_run(self, number: int) -> str:
        self.write("/jobs/hello/ctl", "run")
        return self.read(f"/jobs/hello/runs/{number}/env").splitlines()[2]

    def test_appends(self) -> None:
        """A first write at the command's length goes on from it, as `>>` does."""
        self.write("/jobs/hello/cmd", "and more\n", append=True)
        self.assertEqual(self.stored(), "old\nand more\n")
        fid = self.open("/jobs/hello/cmd", OWRITE | OAPPEND)
        length = self.successResultOf(fid.stat()).length
        self.assertEqual(length, len("old\nand more\n"))
        self.successResultOf(fid.write(length, b"a"))
        self.successResultOf(fid.write(length + 1, b"b"))
        self.close(fid)
        self.assertEqual(self.stored(), "old\nand more\nab\n")

    def test_appends_to_an_empty_command(self) -> None:
        """A job without a command has an empty file, and `>>` writes its first line."""
        self.successResultOf(self.client.mkdir("/jobs/empty"))
        self.assertEqual(self.length("/jobs/empty/cmd"), 0)
        self.write("/jobs/empty/cmd", "first\n", append=True)
        self.assertEqual(self.read("/jobs/empty/cmd"), "first\n")

    def test_wrong_offsets(self) -> None:
        """A write that follows nothing is refused, and leaves the old command."""
        for first in (1, 3, 5, 1 << 40):
            fid = self.open("/jobs/hello/cmd", OWRITE)
            self.refused(errno.EINVAL, fid.write(first, b"x"))
            self.close(fid)
        fid = self.open("/jobs/hello/cmd", OWRITE)
        self.successResultOf(fid.write(0, b"half of "))
        self.refused(errno.EINVAL, fid.write(9, b"it"))
        self.refused(errno.EINVAL, fid.write(8, b"it"))
        self.close(fid)
        self.assertEqual(self.stored(), "old\n")

    def test_a_refused_first_write_may_be_made_again(self) -> None:
        """A first write at a wrong place spoils nothing."""
        fid = self.open("/jobs/hello/cmd", OWRITE)
        self.refused(errno.EINVAL, fid.write(2, b"new"))
        self.successResultOf(fid.write(0, b"new"))
        self.close(fid)
        self.assertEqual(self.stored(), "new\n")

    def test_what_the_disk_refuses(self) -> None:
        """A write that can't be stored fails, and the command stays the old one."""
        fid = self.open("/jobs/hello/cmd", OWRITE)
        self.successResultOf(fid.write(0, b"half of "))
        self.patch(self.jobd.table, "put_draft", lambda *_, **__: fail(StoreError(errno.ENOSPC)))
        self.refused(errno.ENOSPC, fid.write(8, b"it"))
        self.close(fid)
        self.assertEqual(self.stored(), "old\n")
        self.assertIn("No space left", self.errors()[0])

    def test_where_an_append_goes(self) -> None:
        """stat gives the length of the newest command, whatever an open fid of the file has read."""
        fid = self.successResultOf(self.client.walk("/jobs/hello/cmd"))
        opened = self.successResultOf(self.successResultOf(fid.walk()).open())
        self.part(opened)
        self.write("/jobs/hello/cmd", "a longer one")
        self.assertEqual(self.successResultOf(fid.stat()).length, len("a longer one\n"))

    def test_writes_in_flight(self) -> None:
        """A client may send the next write before the last one is answered."""
        fid = self.open("/jobs/hello/cmd", OWRITE)
        written = [fid.write(0, b"one "), fid.write(4, b"two "), fid.write(8, b"three")]
        self.assertEqual([self.successResultOf(each) for each in written], [4, 4, 5])
        self.close(fid)
        self.assertEqual(self.stored(), "one two three\n")

    def test_lost_connection(self) -> None:
        """A connection that ends before the clunk leaves the old command."""
        client = self.connect()
        fid = self.open("/jobs/hello/cmd", OWRITE, client)
        self.successResultOf(fid.write(0, b"half"))
        client.disconnect()
        self.assertEqual(self.stored(), "old\n")
        self.jobd.restart()
        self.client = self.connect()
        self.assertEqual(self.stored(), "old\n")

    def test_what_a_shell_opens_and_closes(self) -> None:
        """Truncation alone does nothing: not at open, not by wstat or setattr, not with a clunk after it."""
        self.close(self.open("/jobs/hello/cmd", OWRITE | OTRUNC))
        self.successResultOf(self.client.set_stat("/jobs/hello/cmd", SetStat(length=0, mtime=1.0)))
        self.assertEqual(self.stored(), "old\n")

    def test_largest(self) -> None:
        """A command may have a MiB, in as many writes as it takes, and not a byte more."""
        text = b"echo " + b"x" * (MIB - 5)
        self.write("/jobs/hello/cmd", text + b"\n")
        self.assertEqual(len(self.stored()), MIB + 1)
        self.assert_refused(errno.EINVAL, "/jobs/hello/cmd", text + b"yy")
        self.assertEqual(len(self.stored()), MIB + 1)
        self.assertIn("longer than", self.errors()[-1])

    def test_characters_cut_in_two(self) -> None:
        """A write may end within a character; what is no UTF-8 is refused as soon as it is sure."""
        fid = self.open("/jobs/hello/cmd", OWRITE)
        for offset, byte in enumerate("ü€𝄞".encode()):
            self.successResultOf(fid.write(offset, bytes([byte])))
        self.close(fid)
        self.assertEqual(self.stored(), "ü€𝄞\n")
        for data in (b"a\xffb", b"\xc3(", b"a\0b"):
            self.assert_refused(errno.EINVAL, "/jobs/hello/cmd", data)
        fid = self.open("/jobs/hello/cmd", OWRITE)
        self.successResultOf(fid.write(0, b"a\xc3"))
        self.refused(errno.EINVAL, fid.clunk())
        self.assertIn("UTF-8", self.errors()[-1])
        self.assertEqual(self.stored(), "ü€𝄞\n")

    def test_written_back(self) -> None:
        """What is read may be written, and changes nothing."""
        for path in ("cmd", "schedule", "options"):
            for started in ("stop", "start"):
                self.write("/jobs/hello/ctl", started)
                version = self.successResultOf(self.client.walk(f"/jobs/hello/{path}")).qid.version
                text = self.read(f"/jobs/hello/{path}")
                self.write(f"/jobs/hello/{path}", text)
                self.assertEqual(self.read(f"/jobs/hello/{path}"), text)
                again = self.successResultOf(self.client.walk(f"/jobs/hello/{path}")).qid.version
                self.assertEqual(again, version)
        self.assertEqual(self.errors(), [])

    def test_a_removed_job(self) -> None:
        """What is open of a job that is removed can't be written any more."""
        fid = self.open("/jobs/hello/cmd", OWRITE)
        begun = self.open("/jobs/hello/cmd", OWRITE)
        self.successResultOf(begun.write(0, b"half"))
        directory = self.successResultOf(self.client.walk("/jobs/hello"))
        self.successResultOf(self.client.remove("/jobs/hello"))
        self.refused(errno.ENOENT, fid.write(0, b"x"))
        self.refused(errno.ENOENT, begun.clunk())
        self.refused(errno.ENOENT, directory.walk("cmd"))
        self.refused(errno.ENOENT, directory.stat())


@in_each_dialect
class ScheduleTest(TreeTest):
    """A message to `schedule`, and to `options`."""

    def setUp(self) -> None:
        super().setUp()
        self.make()

    def test_new_schedule(self) -> None:
        """A line is the new expression; a `next` line beside it is ignored."""
        self.write("/jobs/hello/schedule", "  0 12 * * *  \n")
        self.assertEqual(self.read("/jobs/hello/schedule"), "0 12 * * *\n")
        self.write("/jobs/hello/ctl", "start")
        self.assertEqual(
            self.read("/jobs/hello/schedule"), "0 12 * * *\nnext 2026-01-01 12:00:00 +0000 UTC\n"
        )
        self.write("/jobs/hello/schedule", "next whatever\n0 13 * * *\n")
        self.assertEqual(
            self.read("/jobs/hello/schedule"), "0 13 * * *\nnext 2026-01-01 13:00:00 +0000 UTC\n"
        )

    def test_refused_schedules(self) -> None:
        """A bad expression, none and two of them are refused; the field is named."""
        for text, about in (
            ("0 25 * * *", "hour"),
            ("0 0 * * * * * *", "fields"),
            ("\n", "one line"),
            ("0 1 * * *\n0 2 * * *\n", "one line"),
            ("@at 2001-01-01T0000", "from now on"),
            (b"\xff", "UTF-8"),
        ):
            self.assert_refused(errno.EINVAL, "/jobs/hello/schedule", text)
            self.assertIn(about, self.errors()[-1], text)
        self.assertEqual(self.read("/jobs/hello/schedule"), "* * * * *\n")

    def test_next(self) -> None:
        """`next` has ten times, of a stopped job too; of one without a schedule none."""
        lines = self.read("/jobs/hello/next").splitlines()
        self.assertEqual(len(lines), 10)
        self.assertEqual(lines[0], "2026-01-01 00:01:00 +0000 UTC")
        self.successResultOf(self.client.mkdir("/jobs/empty"))
        self.assertEqual(self.read("/jobs/empty/next"), "")
        self.assertEqual(self.read("/jobs/empty/schedule"), "")

    def test_options_merge(self) -> None:
        """Lines are merged all or none; a key alone resets, `env NAME` unsets, `default` resets all."""

        def shown(*keys: str) -> list[str]:
            return [line for line in self.read("/jobs/hello/options").splitlines() if line.split()[0] in keys]

        self.write("/jobs/hello/options", "timeout 90s\nenv A=1\nenv B= x=y\n")
        self.assertEqual(shown("timeout", "env")[0], "timeout 1m30s")
        self.assertEqual(len(shown("env")), 2)
        self.assert_refused(errno.EINVAL, "/jobs/hello/options", "timeout 5s\nnonsense 1\n")
        self.assertIn("nonsense", self.errors()[-1])
        self.assert_refused(errno.EINVAL, "/jobs/hello/options", "timeout 5s\ngrace 1")
        self.assertIn("newline", self.errors()[-1])
        self.assertEqual(shown("timeout"), ["timeout 1m30s"])
        self.write("/jobs/hello/options", "env A")
        self.assertEqual(len(shown("env")), 1)
        self.write("/jobs/hello/options", "timeout")
        self.assertEqual(shown("timeout"), ["timeout none"])
        self.write("/jobs/hello/options", "default\n")
        self.assertEqual(shown("env"), [])

    def test_timezone(self) -> None:
        """A zone set by `options` is that of `schedule` and `next`."""
        self.write("/jobs/hello/schedule", "0 12 * * *")
        self.write("/jobs/hello/options", "timezone Asia/Tokyo")
        self.assertEqual(self.read("/jobs/hello/next").splitlines()[0], "2026-01-01 12:00:00 +0900 JST")


@in_each_dialect
class JobDirectoryTest(TreeTest):
    """`mkdir`, `mv` and `rmdir` of jobs."""

    def test_mkdir(self) -> None:
        """A new directory is an empty stopped job."""
        self.successResultOf(self.client.mkdir("/jobs/new"))
        texts = {
            name: self.read(f"/jobs/new/{name}") for name in ("ctl", "cmd", "schedule", "log", "history")
        }
        self.assertEqual(texts, {"ctl": "stopped\n", "cmd": "", "schedule": "", "log": "", "history": ""})
        self.refused(errno.EEXIST, self.client.mkdir("/jobs/new"))
        self.refused(errno.EINVAL, self.client.mkdir("/jobs/bad name"))
        self.refused(errno.EPERM, self.successResultOf(self.client.walk("/jobs")).create("file"))
        self.assertEqual(
            [line.split(": ")[0] for line in self.errors()], ["/jobs/new", "/jobs/bad name", "/jobs/file"]
        )

    def test_a_name_with_newlines(self) -> None:
        """Whatever a client calls a file, `/error` has one line for it."""
        self.refused(errno.EINVAL, self.client.mkdir("/jobs/a\nb\x1b[31m"))
        self.assertEqual(len(self.errors()), 1)
        self.assertIn("/jobs/a?b?[31m: ", self.errors()[0])

    def test_rename(self) -> None:
        """A renamed job keeps all it has, and open files of it stay with it."""
        self.make()
        self.write("/jobs/hello/ctl", "start")
        fid = self.successResultOf(self.client.walk("/jobs/hello"))
        log = self.read("/jobs/hello/log")
        self.successResultOf(self.rename("/jobs/hello", "other"))
        self.assertEqual(self.names("/jobs"), ["other"])
        self.assertEqual(self.read("/jobs/other/ctl"), "started\n")
        self.assertEqual(self.read("/jobs/other/log"), log)
        if self.version != "9P2000.L":
            self.assertEqual(self.successResultOf(fid.stat()).name, "other")
        self.make()
        self.refused(errno.EEXIST, self.rename("/jobs/hello", "other"))
        self.refused(errno.EINVAL, self.rename("/jobs/hello", "a b"))
        self.successResultOf(self.rename("/jobs/hello", "hello"))
        self.assertEqual(self.names("/jobs"), ["other", "hello"])

    def test_remove(self) -> None:
        """rmdir takes a job with all its files, its history and its log."""
        self.make()
        self.write("/jobs/hello/ctl", "start")
        self.write("/jobs/hello/ctl", "run")
        self.refused(errno.EBUSY, self.client.remove("/jobs/hello"))
        self.assertIn("in progress", self.errors()[-1])
        self.jobd.spawner.running[0].exit()
        self.successResultOf(self.client.remove("/jobs/hello"))
        self.assertEqual(self.names("/jobs"), [])
        self.jobd.clock.pass_time(120)
        self.assertEqual(len(self.jobd.spawner.processes), 1)
        self.make()
        self.assertEqual((self.read("/jobs/hello/log"), self.read("/jobs/hello/history")), ("", ""))

    def bits(self, mode: int) -> int:
        """MODE of a directory, as the dialect sends it."""
        return mode if self.version == "9P2000.L" else mode | DMDIR

    def test_attributes(self) -> None:
        """A job's mode is set on its directory; it has nine bits, and no length."""
        self.make()
        path = "/jobs/hello"
        self.successResultOf(self.client.set_stat(path, SetStat(mode=self.bits(0o750))))
        self.assertEqual(self.successResultOf(self.client.stat(path)).mode & 0o7777, 0o750)
        self.successResultOf(self.client.set_stat(path, SetStat(atime=1.0, mtime=1.0)))
        self.refused(errno.EINVAL, self.client.set_stat(path, SetStat(mode=self.bits(0o755 | DMSETUID))))
        self.refused(errno.EISDIR, self.client.set_stat(path, SetStat(length=5)))


@in_each_dialect
class ErrorTest(TreeTest):
    """`/error`."""

    def test_the_last_sixteen(self) -> None:
        """The last 16 failed changes stand there, newest last, those of all connections of the user."""
        other = self.connect()
        for number in range(20):
            client = (self.client, other)[number % 2]
            self.assert_refused(errno.EINVAL, "/ctl", f"verb{number}", client)
        lines = self.errors()
        self.assertEqual(lines, self.errors(other))
        self.assertEqual(
            lines, [f"/ctl: ctl: 'verb{number}' is not pause or resume" for number in range(4, 20)]
        )

    def test_looking_never_enters(self) -> None:
        """Failed look-ups, reads and extended attributes are no failed changes."""
        self.make()
        self.refused(errno.ENOENT, self.client.walk("/jobs/nothing"))
        ctl = self.open("/jobs/hello/ctl", OWRITE)
        self.refused(errno.EBADF, ctl.read(0))
        if self.version == "9P2000.L":
            fid = self.successResultOf(self.client.walk("/jobs/hello/cmd"))
            self.refused(errno.EOPNOTSUPP, fid.get_xattr("security.capability"))
        self.assertEqual(self.read("/error"), "")


class SignalTest(SynchronousTestCase):
    """The argument of `kill`."""

    def test_names(self) -> None:
        """A signal is named with or without SIG, in any case, or by its number."""
        for text in ("TERM", "term", "SIGTERM", "sigterm", "15"):
            self.assertEqual(signal_number(text), signal.SIGTERM)
