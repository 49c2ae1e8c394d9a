"""How a run becomes a process: from a command, its owner and its options to an argument vector.

What runs in the end is exactly `[shell, "-c", command]`, with exactly the environment that was made for it;
a command that is longer than Linux lets an argument be is a script in memory instead.
Where the user is the daemon's and nothing but the usual is asked for (`jobd.jobs.here`), that is started
directly.  Otherwise a chain of exec leads there, in which no process forks the daemon:

    setpriv                                where another user is to be become; it has no environment
    /bin/sh, a script from a memfd         directory, umask, limits, environment
    nice                                   where the job asks for a nice value
    the job's shell

The script is in memory and not in an argument, because everybody may read /proc/PID/cmdline and an
environment holds passwords.  It runs as the owner: nothing of the owner's, neither a variable nor a
directory, is looked at by a process that is still root, and the kernel refuses the owner a higher limit.
A step that fails says so on the run's output and ends it with 126, or 127 where a program is missing, as
shells do.
"""

from __future__ import annotations

import os
import pwd
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from errno import EPERM
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from jobd.jobs.errors import JobError
from jobd.jobs.here import USUAL_UMASK, Here
from jobd.jobs.shadow import SHADOW, why_unusable
from jobd.jobs.texts import instant

if TYPE_CHECKING:
    from jobd.jobs.job import Job
    from jobd.jobs.run import FailedRun, Run

PATH = "/usr/local/bin:/usr/bin:/bin"
SCRIPT_FD, COMMAND_FD = 3, 4
LONGEST_ARGUMENT = 131_071
"""Bytes of one argument: MAX_ARG_STRLEN of Linux, less its NUL byte."""
NO_ID = 0xFFFFFFFF
"""(uid_t)-1: setresuid(2) takes it for "leave it as it is", which is root."""
DAY = 86400
FRESH = 1.0
"""Seconds for which an account counts as it was found."""

SHELL_OWNED = frozenset({"PWD", "OLDPWD", "SHLVL", "OPTIND", "LINENO", "PPID", "UID", "EUID", "_"})
"""Variables that a shell sets for itself, whatever it is given; some it lets nobody set. Never handed on."""


class Account(NamedTuple):
    """Whom a job runs as."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    """Every group, the first among them."""
    home: str


def look_up(name: str) -> Account:
    """The account NAME of this machine; JobError where there is none to run as.

    Asks the password, group and shadow files.
    """
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):
        raise JobError(EPERM, f"there is no user {name} on this machine") from None
    groups = tuple(sorted(os.getgrouplist(name, entry.pw_gid)))
    if not all(0 <= number < NO_ID for number in (entry.pw_uid, entry.pw_gid, *groups)):
        raise JobError(EPERM, f"the account of {name} has no number that a process can have")
    # Root is the daemon itself, and its password says nothing of its jobs.
    if entry.pw_uid != 0 and (why := why_unusable(name, int(time.time()) // DAY)):
        raise JobError(EPERM, why)
    return Account(name, entry.pw_uid, entry.pw_gid, groups, entry.pw_dir or "/")


def _stamps() -> list[tuple[int, int]]:
    """What changes with the files of accounts: whoever is locked there runs nothing from then on."""
    stamps = []
    for path in ("/etc/passwd", "/etc/group", SHADOW):
        with suppress(OSError):
            found = os.stat(path)
            stamps.append((found.st_ino, found.st_mtime_ns))
    return stamps


class RecentAccounts:
    """`look_up`, asked anew once a second: a thousand jobs that are due at once have few owners.

    And after each change of the local files; only of accounts in a directory service, news is a second late.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """NOW gives seconds that only grow."""
        self._now = now
        self._until = now()
        self._stamps = _stamps()
        self._known: dict[str, Account] = {}

    def __call__(self, name: str) -> Account:
        """As `look_up`."""
        stamps = _stamps()
        if self._now() >= self._until or stamps != self._stamps:
            self._until, self._stamps = self._now() + FRESH, stamps
            self._known.clear()
        if name not in self._known:
            self._known[name] = look_up(name)
        return self._known[name]


class Helpers(NamedTuple):
    """The programs between the daemon and a job's shell, at absolute paths: root trusts them."""

    sh: str = "/bin/sh"
    setpriv: str = "/usr/bin/setpriv"
    prlimit: str = "/usr/bin/prlimit"
    nice: str = "/usr/bin/nice"


HELPERS = Helpers()


@dataclass(frozen=True)
class Command:
    """One process to start: `argv` and `environment`, with `files()` open in it."""

    text: str
    directory: str
    shown_environment: Mapping[str, str]
    """What the command is given in the end."""
    here: Here
    shell: str = "/bin/sh"
    account: Account | None = None
    """Whom to become; None is nobody else."""
    umask: int = USUAL_UMASK
    nice: int = 0
    """Added to the daemon's own."""
    limits: Mapping[str, str] = field(default_factory=dict)
    """Soft and hard: by prlimit(1)'s name of it, a number in setrlimit(2)'s unit or `unlimited`."""
    helpers: Helpers = HELPERS

    @property
    def shown_argv(self) -> list[str]:
        """What runs in the end: a command that is too long for an argument is read as a script."""
        if self._is_script:
            return [self.shell, f"/proc/self/fd/{COMMAND_FD}"]
        return [self.shell, "-c", self.text]

    @property
    def _is_script(self) -> bool:
        return len(os.fsencode(self.text)) > LONGEST_ARGUMENT

    @cached_property
    def direct(self) -> bool:
        """Whether the command needs nothing but what a process inherits."""
        inherits = (self.directory, self.umask) == (self.here.directory, self.here.umask)
        plain = inherits and not self.account and not self.nice and not self.limits
        # The script says on the run's output what keeps it out.
        return plain and os.access(self.directory, os.X_OK)

    @property
    def argv(self) -> list[str]:
        """What is started."""
        if self.direct:
            return self.shown_argv
        argv = [self.helpers.sh, f"/proc/self/fd/{SCRIPT_FD}"]
        if self.account is None:
            return argv
        groups = ",".join(map(str, self.account.groups))
        return [
            self.helpers.setpriv,
            f"--reuid={self.account.uid}",
            f"--regid={self.account.gid}",
            f"--groups={groups}" if groups else "--clear-groups",
            "--inh-caps=-all",
            "--",
            *argv,
        ]

    @property
    def environment(self) -> dict[str, str]:
        """What that is given."""
        return dict(self.shown_environment) if self.direct else {}

    @contextmanager
    def files(self) -> Iterator[dict[int, int]]:
        """What is open in it beside its standard files: its number there, and ours until it is started."""
        files: dict[int, int] = {}
        try:
            if not self.direct:
                files[SCRIPT_FD] = _in_memory(self.script)
            if self._is_script:
                files[COMMAND_FD] = _in_memory(self.text)
            yield files
        finally:
            for fd in files.values():
                os.close(fd)

    @property
    def script(self) -> str:
        """What /bin/sh does on the way, as the owner."""
        enter = f"cd -P -- {shlex.quote(self.directory)} 2>/dev/null"
        lines = [
            _or_end(enter, f"jobd: cannot enter the directory {self.directory}", 126),
            f"umask {self.umask:03o}",
        ]
        if self.limits:
            limits = " ".join(f"--{name}={value}:{value}" for name, value in self.limits.items())
            lines.append(f"{self.helpers.prlimit} --pid $$ {limits} || exit 126")
        lines += [
            _or_end(f"[ -x {shlex.quote(self.shell)} ]", f"jobd: cannot execute the shell {self.shell}", 127),
            "unset PWD OLDPWD SHLVL",
            *(f"export {name}={shlex.quote(value)}" for name, value in self.shown_environment.items()),
        ]
        nice = [self.helpers.nice, "-n", str(self.nice)] if self.nice else []
        lines.append(f"exec {shlex.join([*nice, *self.shown_argv])} {SCRIPT_FD}<&-")
        return "\n".join(lines) + "\n"


def _in_memory(text: str) -> int:
    fd = os.memfd_create("jobd")
    with open(fd, "wb", closefd=False) as file:
        file.write(os.fsencode(text))
    return fd


def _or_end(command: str, sentence: str, status: int) -> str:
    return f"{command} || {{ printf '%s\\n' {shlex.quote(sentence)} >&2; exit {status}; }}"


class Spawner(Protocol):
    """What is needed of an `IReactorProcess`."""

    def spawnProcess(self, processProtocol: Any, executable: Any, args: Any, env: Any, **kw: Any) -> Any: ...


def spawn(spawner: Spawner, command: Command, protocol: Any, output: int) -> Any:
    """Start COMMAND with nothing to read and its output going to OUTPUT, which is closed here: its transport.

    OSError where it can't be started.
    """
    try:
        if command.account is not None:
            # So that it may open /dev/stderr by that name.
            os.fchown(output, command.account.uid, command.account.gid)
        with command.files() as files:
            return spawner.spawnProcess(
                protocol,
                command.argv[0],
                command.argv,
                command.environment,
                childFDs={**files, 0: _nothing(), 1: output, 2: output},
            )
    finally:
        os.close(output)


@cache
def _nothing() -> int:
    """/dev/null, open for all that are started."""
    return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


class Launcher:
    """Makes the `Command` of each run, where what is started directly has what HERE says."""

    def __init__(
        self, here: Here, look_up: Callable[[str], Account] | None = None, helpers: Helpers = HELPERS
    ) -> None:
        self._here = here
        self._look_up = look_up or RecentAccounts()
        self._helpers = helpers

    def command(self, job: Job, run: Run) -> Command:
        """How RUN of JOB starts.

        JobError: its owner is unknown here, or the daemon cannot become that user.
        """
        return self._command(job, job.command, run.number, run.scheduled, run.run_id, {})

    def on_failure(self, job: Job, failed: FailedRun, run_id: str) -> Command:
        """How the `on-failure` command of JOB starts; RUN_ID marks what it starts in turn.

        JobError as of `command`.
        """
        facts = {"JOBD_OUTCOME": failed.outcome, "JOBD_EXIT": failed.exit}
        return self._command(job, job.options.on_failure, failed.number, failed.scheduled, run_id, facts)

    def _command(
        self, job: Job, text: str, number: int, scheduled: int | None, run_id: str, facts: Mapping[str, str]
    ) -> Command:
        account = self._look_up(job.owner)
        if account.uid != self._here.uid and self._here.uid != 0:
            raise JobError(EPERM, f"a daemon that is not root cannot run a job as {account.name}")
        options = job.options
        environment = made_environment(
            account,
            shell=options.shell,
            job=job.name,
            run=number,
            scheduled=instant(scheduled) or "none",
            run_id=run_id,
            extra={**facts, **options.env},
        )
        return Command(
            text=text,
            directory=options.directory or account.home,
            shown_environment=environment,
            here=self._here,
            shell=options.shell,
            account=account if account.uid != self._here.uid else None,
            umask=options.umask,
            nice=options.nice,
            limits=options.limit,
            helpers=self._helpers,
        )


def made_environment(
    account: Account, *, shell: str, job: str, run: int, scheduled: str, run_id: str, extra: Mapping[str, str]
) -> dict[str, str]:
    """The environment of a run: made, not inherited.

    EXTRA, the job's `env`, may replace all of it but the mark by which the processes of the run are found.
    """
    made = {
        "HOME": account.home,
        "LOGNAME": account.name,
        "USER": account.name,
        "SHELL": shell,
        "PATH": PATH,
        "JOBD_JOB": job,
        "JOBD_RUN": str(run),
        "JOBD_SCHEDULED": scheduled,
        **extra,
        "JOBD_RUN_ID": run_id,
    }
    return {name: value for name, value in made.items() if name not in SHELL_OWNED}
