"""What runs is exactly the job's command, as its owner, where and with what it asked for."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from errno import EPERM
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from jobd.jobs import launch, processes
from jobd.jobs.errors import JobError
from jobd.jobs.here import Here
from jobd.jobs.launch import Account, Command, Helpers, Launcher, RecentAccounts, look_up
from jobd.jobs.options import DEFAULTS
from jobd.jobs.texts import MAX_COMMAND
from tests.jobs.test_processes import Recorder

ELSEWHERE = Here(uid=os.geteuid(), directory="/nowhere", umask=0o777)
"""A daemon in whose place nothing can be started directly."""
HOME = os.path.realpath("/usr")
"""A directory that is there, and not where we are."""
STRANGER = Account("stranger", 54321, 54322, (54322, 54323), "/")

# A "shell" that tells what it was started as, whatever its command is.
TELL = """#!/bin/sh
for name in cmdline environ status limits stat; do
    printf '\\n=== %s\\n' $name
    /bin/cat /proc/$$/$name
done
printf '\\n=== cwd\\n'
/usr/bin/readlink -n /proc/$$/cwd
printf '\\n=== fd\\n'
/bin/ls /proc/$$/fd
"""


class Facts:
    """What the kernel says of a process that was started with that shell."""

    def __init__(self, output: bytes) -> None:
        parts = dict(part.split(b"\n", 1) for part in output.split(b"\n=== ")[1:])
        self.argv = os.fsdecode(parts[b"cmdline"]).split("\0")[2:-1]
        self.environment = dict(
            item.split("=", 1) for item in os.fsdecode(parts[b"environ"]).split("\0")[:-1]
        )
        self.status = dict(line.split(":\t", 1) for line in parts[b"status"].decode().splitlines())
        self.umask = int(self.status["Umask"], 8)
        self.limits = {
            line[:25].strip(): line[25:].split()[:2] for line in parts[b"limits"].decode().splitlines()
        }
        stat = parts[b"stat"].split()
        self.pid, self.session, self.nice = int(stat[0]), int(stat[5]), int(stat[18])
        self.directory = os.fsdecode(parts[b"cwd"])
        self.files = {int(fd) for fd in parts[b"fd"].split()} - {10}  # where dash reads its script

    def ids(self, field: str) -> list[int]:
        """The numbers in a field of /proc/PID/status."""
        return [int(number) for number in self.status[field].split()]


class Running(TestCase):
    """Runs commands through each step of the chain for real."""

    def setUp(self) -> None:
        if not processes.available():
            raise SkipTest("no posix_spawn with a session, or no pidfd, on this platform")
        processes.seal_inherited()
        self.directory = os.path.realpath(tempfile.mkdtemp(prefix="jobd-test-"))
        self.addCleanup(shutil.rmtree, self.directory)
        os.chmod(self.directory, 0o755)  # other users start programs from it

    def shell(self, text: str) -> str:
        path = os.path.join(self.directory, "shell")
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, 0o755)
        return path

    @inlineCallbacks
    def run_command(self, command: Command) -> Any:
        """The reason of its end, and its output."""
        reader, writer = os.pipe()
        null = os.open(os.devnull, os.O_RDONLY)
        protocol = Recorder()
        try:
            with command.files() as files:
                processes.PosixSpawner(reactor).spawnProcess(
                    protocol,
                    command.argv[0],
                    command.argv,
                    command.environment,
                    childFDs={0: null, 1: writer, 2: writer, **files},
                )
            os.close(writer)
            reason = yield protocol.ended
            with open(reader, "rb", closefd=False) as file:
                return reason, file.read()
        finally:
            os.close(reader)
            os.close(null)

    @inlineCallbacks
    def told(self, **parts: Any) -> Any:
        """What the command of PARTS was started as, as the telling shell has it."""
        parts = {"text": "echo", "directory": "/", "shown_environment": {}, "here": ELSEWHERE, **parts}
        reason, output = yield self.run_command(Command(shell=self.shell(TELL), **parts))
        self.assertEqual(reason.exitCode, 0, output)
        return Facts(output)


class ChainTests(Running):
    """The chain without another user."""

    @inlineCallbacks
    def test_defaults(self) -> Any:
        """Command, environment, directory and umask arrive as they are, and no file but the standard ones."""
        text = "echo 'a  b'\n# ü $HOME \\ \" !"
        environment = {"A": "it's", "B": "", "LD_LIBRARY_PATH": "/x", "C": "two\nlines\n", "PATH": "/none"}
        facts = yield self.told(text=text, shown_environment=environment)
        self.assertEqual(facts.argv, ["-c", text])
        self.assertEqual(facts.environment, environment)
        self.assertEqual(facts.directory, "/")
        self.assertEqual(facts.umask, 0o022)
        self.assertEqual(facts.files, {0, 1, 2})
        self.assertEqual(facts.pid, facts.session)

    @inlineCallbacks
    def test_a_long_command(self) -> Any:
        """A command of the largest size that a job may have runs, in a chain and directly."""
        text = "echo begun\n" + "#" * (MAX_COMMAND - 22) + "\necho done\n"
        direct = Here(os.geteuid(), os.getcwd(), 0o022)
        for here, directory in ((ELSEWHERE, "/"), (direct, direct.directory)):
            with self.subTest(here=here):
                reason, output = yield self.run_command(Command(text, directory, {}, here))
                self.assertEqual((reason.exitCode, output), (0, b"begun\ndone\n"))

    @inlineCallbacks
    def test_the_same_directly(self) -> Any:
        """Where the daemon's directory and umask will do, the shell itself is started, to the same effect."""
        here = Here.look()
        command = Command("true", here.directory, {"A": "1"}, here, umask=here.umask)
        self.assertEqual(command.argv, ["/bin/sh", "-c", "true"])
        facts = yield self.told(
            directory=here.directory, umask=here.umask, shown_environment={"A": "1"}, here=here
        )
        self.assertEqual(facts.environment, {"A": "1"})
        self.assertEqual((facts.directory, facts.umask), (here.directory, here.umask))

    @inlineCallbacks
    def test_options(self) -> Any:
        """Umask, nice and limits are those the job asked for."""
        before = os.nice(0)
        limits = {"nofile": "64", "core": "0"}
        facts = yield self.told(umask=0o077, nice=3, limits=limits)
        self.assertEqual((facts.umask, facts.nice), (0o077, before + 3))
        self.assertEqual(facts.limits["Max open files"], ["64", "64"])
        self.assertEqual(facts.limits["Max core file size"], ["0", "0"])
        self.assertEqual(facts.environment, {})

    @inlineCallbacks
    def test_a_directory_of_any_name(self) -> Any:
        """A directory is entered whatever characters are in its name, and links are resolved."""
        for name in ("-", "-P", "a b", "it's", "$HOME", "two\nlines", "\udcff\udc81"):
            path = os.path.join(self.directory, name)
            os.mkdir(path)
            facts = yield self.told(directory=path)
            self.assertEqual(os.fsencode(facts.directory), os.fsencode(path))

    @inlineCallbacks
    def test_every_byte(self) -> Any:
        """Every byte but NUL survives in the command and in a variable, those that shells use inside too."""
        every = bytes(range(1, 256)).decode(errors="surrogateescape")
        facts = yield self.told(text=every, shown_environment={"EVERY": every})
        self.assertEqual(facts.argv[1], every)
        self.assertEqual(facts.environment, {"EVERY": every})

    @inlineCallbacks
    def test_bash_between(self) -> Any:
        """The script means the same to a /bin/sh that is bash, which adds only `_` and `SHLVL`."""
        if not os.path.exists("/bin/bash"):
            raise SkipTest("no bash here")
        os.symlink("/bin/bash", os.path.join(self.directory, "sh"))
        helpers = Helpers(sh=os.path.join(self.directory, "sh"))
        every = bytes(range(1, 256)).decode(errors="surrogateescape")
        facts = yield self.told(text=every, shown_environment={"A": every}, helpers=helpers, umask=0o027)
        for name in ("_", "SHLVL"):
            facts.environment.pop(name, None)
        self.assertEqual((facts.argv[1], facts.environment), (every, {"A": every}))
        self.assertEqual(facts.umask, 0o027)

    @inlineCallbacks
    def test_failures(self) -> Any:
        """A step that fails ends the run with 126 or 127 and a line that says why."""
        no_shell = os.path.join(self.directory, "no such shell")
        unreadable = self.shell("")
        os.chmod(unreadable, 0o644)
        for parts, status, line in (
            ({"directory": "/no/such"}, 126, b"jobd: cannot enter the directory /no/such\n"),
            ({"directory": "/etc/passwd"}, 126, b"jobd: cannot enter the directory /etc/passwd\n"),
            ({"shell": no_shell}, 127, b"jobd: cannot execute the shell " + no_shell.encode() + b"\n"),
            ({"shell": unreadable}, 127, b"jobd: cannot execute the shell " + unreadable.encode() + b"\n"),
            ({"limits": {"nofile": str(1 << 50)}}, 126, b"prlimit: "),
            ({"limits": {"core": "0"}, "helpers": Helpers(prlimit="/no/prlimit")}, 126, b"/no/prlimit"),
        ):
            parts = {"text": "echo ran", "directory": "/", "shown_environment": {}, **parts}
            reason, output = yield self.run_command(Command(here=ELSEWHERE, **parts))
            self.assertEqual(reason.exitCode, status, output)
            self.assertIn(line, output)
            self.assertNotIn(b"ran", output)

    @inlineCallbacks
    def test_status_and_signals(self) -> Any:
        """The status of the command is that of the run."""
        for text, status, signum in (
            ("exit 3", 3, None),
            ("kill -TERM $$", None, 15),
            ("/no/such", 127, None),
        ):
            reason, _ = yield self.run_command(Command(text, "/", {}, ELSEWHERE))
            self.assertEqual((reason.exitCode, reason.signal), (status, signum))


class OtherUserTests(Running):
    """The chain that becomes another user."""

    def setUp(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can become another user")
        super().setUp()

    @inlineCallbacks
    def test_becomes_the_user(self) -> Any:
        """User, group, groups and capabilities are the owner's alone; the rest is as without a change."""
        facts = yield self.told(account=STRANGER, shown_environment={"A": "secret"}, umask=0o027, nice=2)
        self.assertEqual((facts.ids("Uid"), facts.ids("Gid")), ([54321] * 4, [54322] * 4))
        self.assertEqual(facts.ids("Groups"), [54322, 54323])
        for field in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            self.assertEqual(int(facts.status[field], 16), 0, field)
        self.assertEqual(facts.environment, {"A": "secret"})
        self.assertEqual((facts.umask, facts.pid), (0o027, facts.session))

    @inlineCallbacks
    def test_without_groups(self) -> Any:
        """An account in no group at all keeps none of root's."""
        facts = yield self.told(account=STRANGER._replace(groups=()))
        self.assertEqual(facts.ids("Groups"), [])

    @inlineCallbacks
    def test_directory_limits_and_shell_are_the_owners(self) -> Any:
        """The owner's rights decide about directory, shell and limits: what only root may do fails."""
        private = os.path.join(self.directory, "private")
        os.mkdir(private, 0o700)
        for parts, status, line in (
            ({"directory": private}, 126, b"cannot enter"),
            ({"shell": os.path.join(private, "sh")}, 127, b"cannot execute"),
            ({"limits": {"nofile": "1000000000"}}, 126, b"prlimit: "),
        ):
            parts = {"text": "echo ran", "directory": "/", "shown_environment": {}, **parts}
            reason, output = yield self.run_command(Command(here=ELSEWHERE, account=STRANGER, **parts))
            self.assertEqual(reason.exitCode, status, output)
            self.assertIn(line, output)
            self.assertNotIn(b"ran", output)

    @inlineCallbacks
    def test_the_owners_environment_never_meets_root(self) -> Any:
        """Before the owner's shell, no program sees a variable at all, nor any's value in an argument."""
        seen = os.path.join(self.directory, "seen")
        spies = {}
        for name, program in (("setpriv", "/usr/bin/setpriv"), ("sh", "/bin/sh")):
            spies[name] = os.path.join(self.directory, name)
            with open(spies[name], "w") as file:
                file.write(
                    "#!/bin/sh\n"
                    f"cat /proc/$$/environ /proc/$$/cmdline | tr '\\0' '\\n' >>{shlex.quote(seen)}\n"
                    f'unset PWD; exec {program} "$@"\n'
                )
            os.chmod(spies[name], 0o755)
        with open(seen, "w"):
            os.chmod(seen, 0o666)
        facts = yield self.told(
            account=STRANGER,
            helpers=Helpers(**spies),
            shown_environment={"LD_PRELOAD": "", "BASH_ENV": "/evil", "PATH": "/evil", "SECRET": "hunter2"},
        )
        self.assertEqual(facts.environment["SECRET"], "hunter2")
        with open(seen) as file:
            text = file.read()
        self.assertIn("--reuid=54321", text)
        self.assertIn("\n/proc/self/fd/3", text)
        self.assertNotRegex(text, "(?m)^[A-Z_]+=")
        for word in ("evil", "hunter2", "BASH_ENV"):
            self.assertNotIn(word, text)

    @inlineCallbacks
    def test_a_missing_helper(self) -> Any:
        """Without setpriv the run isn't started: the daemon is told at once."""
        command = Command(
            "true", "/", {}, ELSEWHERE, account=STRANGER, helpers=Helpers(setpriv="/no/setpriv")
        )
        with self.assertRaises(FileNotFoundError):
            yield self.run_command(command)


class ScriptTests(Running):
    """The script, for any values."""

    def test_any_text(self) -> None:
        """Any value of a variable and any command arrive as they are."""
        texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
        shell = self.shell(TELL)

        @settings(max_examples=30, deadline=None)
        @given(texts, texts)
        def check(value: str, text: str) -> None:
            with Command(text, "/", {"A": value}, ELSEWHERE, shell=shell).files() as files:
                argv = ["/bin/sh", f"/proc/self/fd/{files[3]}"]
                done = subprocess.run(argv, pass_fds=files.values(), capture_output=True, env={}, check=True)
            facts = Facts(done.stdout)
            self.assertEqual((facts.argv, facts.environment), (["-c", text], {"A": value}))

        check()


class LauncherTests(SynchronousTestCase):
    """A job and a run become a command."""

    def command(self, here: Here, **options: Any) -> Command:
        job: Any = SimpleNamespace(
            name="hello", owner="glenda", command="echo", options=DEFAULTS._replace(**options)
        )
        run: Any = SimpleNamespace(number=7, run_id="0123abcd", scheduled=1392133355)
        account = Account("glenda", 1001, 100, (100, 27), HOME)
        return Launcher(here, {"glenda": account}.__getitem__).command(job, run)

    def test_environment(self) -> None:
        """The environment is made of the owner, the job and the run, and nothing of ours."""
        command = self.command(Here(0, "/", 0o022))
        self.assertEqual(
            command.shown_environment,
            {
                "HOME": HOME,
                "LOGNAME": "glenda",
                "USER": "glenda",
                "SHELL": "/bin/sh",
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                "JOBD_JOB": "hello",
                "JOBD_RUN": "7",
                "JOBD_SCHEDULED": "2014-02-11T15:42:35Z",
                "JOBD_RUN_ID": "0123abcd",
            },
        )

    def test_env_option(self) -> None:
        """The job's `env` replaces and adds variables, but not the run's mark, nor what shells own."""
        env = {"PATH": "/bin", "JOBD_RUN_ID": "no", "X": "1", "PWD": "/no", "UID": "0", "JOBD_JOB": "other"}
        made = self.command(Here(0, "/", 0o022), env=env).shown_environment
        self.assertEqual((made["PATH"], made["X"], made["JOBD_JOB"]), ("/bin", "1", "other"))
        self.assertEqual(made["JOBD_RUN_ID"], "0123abcd")
        self.assertNotIn("PWD", made)
        self.assertNotIn("UID", made)

    def test_by_hand(self) -> None:
        """A run by hand is scheduled `none`."""
        account = Account("glenda", 1001, 100, (100,), "/")
        run: Any = SimpleNamespace(number=1, run_id="x", scheduled=None)
        job: Any = SimpleNamespace(name="j", owner="glenda", command="true", options=DEFAULTS)
        command = Launcher(Here(0, "/", 0o022), lambda name: account).command(job, run)
        self.assertEqual(command.shown_environment["JOBD_SCHEDULED"], "none")

    def test_who_is_changed(self) -> None:
        """Root becomes the owner; the owner's own daemon changes nobody; any other refuses."""
        command = self.command(Here(0, "/", 0o022))
        self.assertEqual(
            command.argv,
            [
                "/usr/bin/setpriv",
                "--reuid=1001",
                "--regid=100",
                "--groups=100,27",
                "--inh-caps=-all",
                "--",
                "/bin/sh",
                "/proc/self/fd/3",
            ],
        )
        self.assertEqual(command.environment, {})
        command = self.command(Here(1001, "/", 0o022))
        self.assertEqual(command.argv, ["/bin/sh", "/proc/self/fd/3"])
        with self.assertRaisesRegex(JobError, "not root") as refused:
            self.command(Here(1002, "/", 0o022))
        self.assertEqual(refused.exception.errno, EPERM)

    def test_shortest_chain(self) -> None:
        """The shell is started itself just where directory, umask, nice and limits ask for nothing."""
        home = Here(1001, HOME, 0o022)
        self.assertTrue(self.command(home).direct)
        self.assertEqual(self.command(home).environment["JOBD_RUN"], "7")
        for changed in ({"directory": "/"}, {"umask": 0o077}, {"nice": 1}, {"limit": {"core": "0"}}):
            self.assertFalse(self.command(home, **changed).direct, changed)

    def test_shown(self) -> None:
        """What is shown of a run is what runs in the end, whatever leads there."""
        command = self.command(Here(0, "/", 0o022), shell="/bin/bash", directory="/srv")
        self.assertEqual(command.shown_argv, ["/bin/bash", "-c", "echo"])
        self.assertEqual(command.directory, "/srv")
        self.assertEqual(command.shown_environment["SHELL"], "/bin/bash")

    def test_look_up(self) -> None:
        """An account of this machine is found with its groups; one that isn't there is named."""
        account = look_up("root")
        self.assertEqual((account.uid, account.name), (0, "root"))
        self.assertIn(account.gid, account.groups)
        with self.assertRaisesRegex(JobError, "there is no user no-such-user"):
            look_up("no-such-user")

    def test_recent_accounts(self) -> None:
        """An account is looked up again after a second, and not before; who is missing is asked for anew."""
        now, asked = 0.0, []

        def look_up(name: str) -> Account:
            asked.append(name)
            if name != "glenda":
                raise JobError(EPERM, name)
            return Account(name, 1001 + len(asked), 100, (100,), HOME)

        self.patch(launch, "look_up", look_up)
        accounts = RecentAccounts(lambda: now)
        self.assertEqual([accounts("glenda").uid, accounts("glenda").uid], [1002, 1002])
        for _ in range(2):
            with self.assertRaises(JobError):
                accounts("nobody")
        now = 1.0
        self.assertEqual(accounts("glenda").uid, 1005)
        self.assertEqual(asked, ["glenda", "nobody", "nobody", "glenda"])
