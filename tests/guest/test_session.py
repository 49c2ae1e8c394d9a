"""jobd on a real Linux mount: what a person types at a shell, in each dialect that the kernel speaks."""

from __future__ import annotations

import re
import shutil
import socket
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests import guest
from tests.daemon import Daemon
from tests.optional import lacking

DAY_TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
LOG_TIME = DAY_TIME + r"\.\d{9} \+0000 UTC"

# For the scripts: `until_found PATTERN FILE` waits for a line; the guest's time limit bounds it.
PRELUDE = r"""
until_found() { until grep -q -e "$1" "$2"; do usleep 100000; done; }
"""

if TYPE_CHECKING:
    Mixin = SynchronousTestCase
else:
    Mixin = object


class Session(Mixin):
    """The tests, for a dialect that OPTIONS choose."""

    options: str
    sticky = "t"

    def setUp(self) -> None:
        guest.require()
        self.daemon = Daemon(self)

    def run_script(self, script: str) -> list[str]:
        """Run a script in the guest; the lines it printed. What it printed on stderr must be nothing."""
        result = guest.run(PRELUDE + script, self.daemon.port, self.options)
        self.assertEqual((result.status, result.stderr), (0, ""))
        return result.stdout.splitlines()

    def test_root(self) -> None:
        """`ls -l` shows the files of the root directory with their modes and true lengths."""
        lines = self.run_script("ls -l; wc -c <version")
        shown = {line.split()[-1]: line.split() for line in lines[1:-1]}
        modes = {name: fields[0] for name, fields in shown.items()}
        self.assertEqual(
            modes,
            {
                "clone": "-rw-rw-rw-",
                "ctl": "-rw-r--r--",
                "error": "-r--r--r--",
                "events": "-r--r--r--",
                "jobs": f"drwxrwxrw{self.sticky}",
                "metrics": "-r--r--r--",
                "version": "-r--r--r--",
            },
        )
        self.assertEqual(shown["version"][4], lines[-1])

    def test_life_of_a_job(self) -> None:
        """A job made through clone is stopped, runs each second once started, and not once stopped again."""
        lines = self.run_script("""
            echo 'hello:* * * * * ? *:echo hello: world' >clone
            ls jobs
            cat jobs/hello/cmd jobs/hello/schedule jobs/hello/ctl
            echo start >jobs/hello/ctl
            cat jobs/hello/ctl
            until_found 'hello: world' jobs/hello/log
            echo -n stop >jobs/hello/ctl
            cat jobs/hello/ctl jobs/hello/log
        """)
        self.assertEqual(
            lines[:6], ["hello", "echo hello: world", "* * * * * ? *", "stopped", "started", "stopped"]
        )
        log = lines[6:]
        for line in log:
            self.assertRegex(line, rf"^{LOG_TIME}:(started|hello: world|stopped)$")
        self.assertTrue(log[0].endswith(":started"))
        self.assertEqual([line.endswith(":stopped") for line in log].count(True), 1)

    def test_run_by_hand(self) -> None:
        """`run` on an open ctl gives the number of a run, whose files tell when and how it ended."""
        lines = self.run_script("""
            echo "once:@yearly:sleep 0.3; echo done; exit 3" >clone
            exec 3<>jobs/once/ctl
            echo run >&3
            read number <&3
            echo $number
            cat jobs/once/runs/$number/wait
            cat jobs/once/runs/$number/output
            grep ^exit= jobs/once/runs/$number/status
        """)
        self.assertEqual(lines[0], "1")
        self.assertRegex(lines[1], r"^run=1 scheduled=none .*exit=3 outcome=failed")
        self.assertEqual(lines[2:], ["done", "exit=3"])

    def test_log_is_followed(self) -> None:
        """`tail -f` of a log shows what a job says while it says it."""
        lines = self.run_script("""
            echo 'tick:* * * * * ? *:echo tick' >clone
            tail -f jobs/tick/log >/tmp/followed &
            sleep 1.5
            echo start >jobs/tick/ctl
            until [ "$(grep -c ':tick' /tmp/followed)" -ge 2 ]; do usleep 100000; done
            echo stop >jobs/tick/ctl
            until_found ':stopped' /tmp/followed
            kill $!
            cat /tmp/followed
        """)
        # One that had begun before the stop may be heard after it.
        self.assertRegex(
            "\n".join(lines),
            rf"(?s)^{LOG_TIME}:started\n({LOG_TIME}:tick\n){{2,}}{LOG_TIME}:stopped(\n{LOG_TIME}:tick)?$",
        )

    def test_directories(self) -> None:
        """`mkdir` makes an empty stopped job, `mv` renames it with all it has, `rmdir` takes it away."""
        lines = self.run_script("""
            mkdir jobs/first
            cat jobs/first/ctl
            echo 'echo made' >jobs/first/cmd
            echo '@hourly' >jobs/first/schedule
            mv jobs/first jobs/second
            ls jobs
            cat jobs/second/cmd jobs/second/schedule
            rmdir jobs/second
            ls jobs
        """)
        self.assertEqual(lines, ["stopped", "second", "echo made", "@hourly"])

    def test_writing_in_place(self) -> None:
        """What shells, `tee`, `cp` and `dd` write to a file in place is what it holds."""
        lines = self.run_script("""
            echo 'job:@daily:first' >clone; cd jobs/job
            cat cmd
            echo 'echo one' >cmd; cat cmd
            echo 'echo two' >>cmd; cat cmd
            echo 'from tee' | tee cmd; cat cmd
            printf 'from cp, and more than once' >/tmp/text
            cp /tmp/text cmd; cat cmd
            seq 1 3000 >/tmp/long
            dd if=/tmp/long of=cmd bs=512 2>/dev/null; md5sum <cmd; md5sum </tmp/long
            echo '@weekly' | tee schedule
            echo '5 4 * * *' >/tmp/schedule; cp /tmp/schedule schedule; cat schedule
            printf '@monthly' | dd of=schedule 2>/dev/null; cat schedule
            echo 'timezone Europe/Paris' >>options; grep timezone options
            cat options >/tmp/options; cat /tmp/options >options; cmp options /tmp/options
        """)
        self.assertEqual(lines[:4], ["first", "echo one", "echo one", "echo two"])
        self.assertEqual(lines[4:7], ["from tee", "from tee", "from cp, and more than once"])
        self.assertEqual(lines[7], lines[8])
        self.assertEqual(lines[9:], ["@weekly", "5 4 * * *", "@monthly", "timezone Europe/Paris"])

    def test_refused_writes(self) -> None:
        """A bad write fails with EINVAL, EEXIST or EPERM, changes nothing, and /error says what was wrong."""
        result = guest.run(
            """
            echo 'job:@daily:true' >clone
            echo 'job:@daily:true' >clone
            echo 'no job' >clone
            echo 'a/b:@daily:true' >clone
            echo nonsense >jobs/job/ctl
            echo '0 61 * * * ? *' >jobs/job/schedule
            echo 'timezone Nowhere/Land' >jobs/job/options
            rm jobs/job/cmd
            cat jobs/job/ctl jobs/job/schedule
            ls jobs
            cat error
            """,
            self.daemon.port,
            self.options,
        )
        self.assertEqual(
            [line.rpartition(": ")[2] for line in result.stderr.splitlines()],
            ["File exists"] + ["Invalid argument"] * 5 + ["Operation not permitted"],
        )
        lines = result.stdout.splitlines()
        self.assertEqual(lines[:3], ["stopped", "@daily", "job"])
        errors = lines[3:]
        sentences = [
            "/clone: .*job",
            "/clone: .*colon",
            "/clone: .*a/b",
            "/jobs/job/ctl: .*nonsense",
            "/jobs/job/schedule: .*minute.*61",
            "/jobs/job/options: .*Nowhere/Land",
            "/jobs/job/cmd: ",
        ]
        self.assertEqual(len(errors), len(sentences), errors)
        for line, sentence in zip(errors, sentences, strict=True):
            self.assertRegex(line, f"^{LOG_TIME}:{sentence}")

    def test_busy(self) -> None:
        """A job with a run in progress is not removed: EBUSY; `stop` does not wait for it, `kill` ends it."""
        result = guest.run(
            PRELUDE
            + """
            echo 'long:@yearly:echo begun; sleep 600' >clone
            echo start >jobs/long/ctl
            echo run >jobs/long/ctl
            until_found begun jobs/long/log
            rmdir jobs/long
            echo stop >jobs/long/ctl
            cat jobs/long/ctl
            echo kill >jobs/long/ctl
            cat jobs/long/runs/1/wait
            rmdir jobs/long
            ls jobs
            """,
            self.daemon.port,
            self.options,
        )
        self.assertEqual(result.stderr.splitlines(), ["rmdir: 'jobs/long': Device or resource busy"])
        self.assertRegex(result.stdout, r"^stopped\nrun=1 .*outcome=killed.*\n$")

    def test_interrupted_wait(self) -> None:
        """A reader that waits for a run can be interrupted, and the mount goes on."""
        lines = self.run_script("""
            echo 'long:@yearly:sleep 600' >clone
            echo run >jobs/long/ctl
            timeout -s INT 0.5 cat jobs/long/runs/1/wait
            cat jobs/long/ctl
            echo kill >jobs/long/ctl
        """)
        self.assertEqual(lines, ["stopped"])

    def test_ordinary_user(self) -> None:
        """An ordinary user may look around."""
        lines = self.run_script("su guest -c 'ls jobs; cat version'")
        self.assertRegex("\n".join(lines), r"^jobd \d")


class LinuxSessionTests(Session, SynchronousTestCase):
    """9P2000.L, which a mount speaks unless it is told otherwise."""

    options = ""

    def test_gnu_tail(self) -> None:
        """GNU tail follows a log as well: it is told of a kind of file system that it polls."""
        lines = self.run_script("""
            echo 'tick:* * * * * ? *:echo tick' >clone
            host tail -f /mnt/jobs/tick/log >/tmp/followed &
            echo start >jobs/tick/ctl
            until_found ':tick' /tmp/followed
            echo stop >jobs/tick/ctl
            until_found ':stopped' /tmp/followed
            kill $!
            cat /tmp/followed
        """)
        self.assertTrue(re.search(":tick$", lines[1]), lines)

    def test_editors(self) -> None:
        """vim and nano save in place, though neither can leave a file of its own beside it."""
        for program in ("vim.tiny", "nano", "script"):
            if shutil.which(program) is None:
                lacking(f"the program {program}")
        lines = self.run_script("""
            echo 'job:@daily:echo one' >clone
            mount -t devtmpfs dev /host/dev; mkdir -p /host/dev/pts
            mount -t devpts -o ptmxmode=666 pts /host/dev/pts
            edit() { host env TERM=xterm HOME=/tmp "$@"; }
            edit vim.tiny -es -c '%s/one/two/' -c wq /mnt/jobs/job/cmd && cat jobs/job/cmd
            edit vim.tiny -es -c '1s/.*/@hourly/' -c wq /mnt/jobs/job/schedule && cat jobs/job/schedule
            # Typed at its start: text, write out, return, exit.
            { sleep 1; printf 'time '; sleep 1; printf '\\017\\r'; sleep 1; printf '\\030'; sleep 1; } |
                edit timeout 20 script -qec 'nano /mnt/jobs/job/cmd' /dev/null >/tmp/screen
            cat jobs/job/cmd
        """)
        self.assertEqual(lines, ["echo two", "@hourly", "time echo two"])


class UnixSessionTests(Session, SynchronousTestCase):
    """9P2000.u."""

    options = "version=9p2000.u"


class Plan9SessionTests(Session, SynchronousTestCase):
    """9P2000, where a mount attaches once, as the user it names."""

    options = "version=9p2000,uname=root"
    sticky = "x"  # the protocol has no such bit


class GuestTests(TestCase):
    """The guest itself."""

    def setUp(self) -> None:
        guest.require()

    async def test_refused_mount(self) -> None:
        """A mount that fails is status 32, and stderr has the kernel's reason."""
        result = await guest.run_in_thread("echo never", 1)
        self.assertEqual((result.status, result.stdout), (32, ""))
        self.assertIn("Connection refused", result.stderr)

    def test_time_limit(self) -> None:
        """A guest that does not end in time is ended."""
        silent = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(silent.close)
        with self.assertRaisesRegex(guest.GuestError, "not ended after 5 seconds"):
            guest.run("never", silent.getsockname()[1], timeout=5)
