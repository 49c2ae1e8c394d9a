"""jobd as an attacker meets it: real users, real sockets, and a daemon that is a process of its own.

A connection belongs to the user whose number the process has while it makes it, so one process can be
several users.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import signal
import socket
import ssl
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
import unittest
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from jobd.ninep import messages as m
from jobd.ninep.errors import NinepError, from_string
from jobd.ninep.interfaces import NONUNAME, OREAD, OTRUNC, OWRITE
from jobd.ninep.stat import UNTOUCHED, Stat
from tests.daemon import ROOT, free_port
from tests.optional import lacking

TIMEOUT = 30.0
"""Seconds after which a test gives up waiting."""

ALICE, BOB = "daemon", "bin"
"""Two users without rights whom every Linux has. They stand for people."""


def uid_of(name: str) -> int:
    """The number of the user NAME."""
    return pwd.getpwnam(name).pw_uid


def require_root() -> None:
    """Skip the test that runs now, where it can't be several users."""
    if os.geteuid() != 0:
        raise unittest.SkipTest("needs root, to be several users")
    for name in (ALICE, BOB, "nobody"):
        try:
            uid_of(name)
        except KeyError:
            lacking(f"the user {name}")


@contextlib.contextmanager
def acting_as(uid: int) -> Iterator[None]:
    """What is made within belongs to UID."""
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


def wait_until(true: Any, what: str) -> None:
    """Wait until TRUE() is."""
    deadline = time.monotonic() + TIMEOUT
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"not in time: {what}")
        time.sleep(0.02)


class Client:
    """A blocking 9P client on a socket, in any dialect, which attaches as whom the test likes."""

    def __init__(self, connection: socket.socket, version: str = m.VERSION_9P2000_U) -> None:
        self.connection = connection
        connection.settimeout(TIMEOUT)
        self._fids = iter(range(1, 1 << 30))
        self._dialect = m.PLAIN
        self.rpc(m.Tversion(8192, version), m.NOTAG)
        self._dialect = m.DIALECTS[version]

    def rpc(self, message: Any, tag: int = 1) -> Any:
        """Send MESSAGE; the reply. NinepError where it is refused, ConnectionError where nobody answers."""
        self.connection.sendall(m.encode(tag, message, self._dialect))
        data = self._take(4)
        data += self._take(int.from_bytes(data, "little") - 4)
        reply = m.decode(data, self._dialect).message
        if isinstance(reply, m.Rlerror):
            raise NinepError(reply.ecode)
        if isinstance(reply, m.Rerror):
            raise NinepError(reply.errno or from_string(reply.ename).errno, reply.ename)
        return reply

    def _take(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self.connection.recv(count - len(data))
            if not more:
                raise ConnectionResetError("the server ended the connection")
            data += more
        return data

    def attach(self, uname: str = "", n_uname: int | None = None) -> User:
        """The tree as an attach with these names shows it."""
        fid = next(self._fids)
        number = NONUNAME if n_uname is None else n_uname
        self.rpc(m.Tattach(fid, m.NOFID, uname, "", number))
        return User(self, fid)

    def new_fid(self) -> int:
        """A number that is no fid yet."""
        return next(self._fids)

    def close(self) -> None:
        """End the connection."""
        self.connection.close()


class User:
    """What one attached user does, in 9P2000 or 9P2000.u."""

    def __init__(self, client: Client, root: int) -> None:
        self.client = client
        self.root = root

    def walk(self, path: str) -> int:
        """A fid for the file at PATH; all of it must be there."""
        names = tuple(path.strip("/").split("/")) if path.strip("/") else ()
        fid = self.client.new_fid()
        reply = self.client.rpc(m.Twalk(self.root, fid, names))
        if len(reply.qids) != len(names):
            # Why a walk stopped is not said: ask for the next name alone.
            self.client.rpc(m.Twalk(self.root, fid, names[: len(reply.qids)]))
            self.client.rpc(m.Twalk(fid, fid, names[len(reply.qids) : len(reply.qids) + 1]))
        return fid

    def open(self, path: str, mode: int = OREAD) -> int:
        """An open fid for the file at PATH."""
        fid = self.walk(path)
        self.client.rpc(m.Topen(fid, mode))
        return fid

    def read_fid(self, fid: int, offset: int = 0) -> str:
        """What there is in an open file from OFFSET on."""
        data = b""
        while part := self.client.rpc(m.Tread(fid, offset + len(data), 4096)).data:
            data += bytes(part)
        return data.decode()

    def read(self, path: str) -> str:
        """All there is in the file at PATH."""
        fid = self.open(path)
        text = self.read_fid(fid)
        self.clunk(fid)
        return text

    def write_fid(self, fid: int, text: str, offset: int = 0) -> None:
        """One Twrite."""
        self.client.rpc(m.Twrite(fid, offset, text.encode()))

    def write(self, path: str, text: str) -> None:
        """Write TEXT to the file at PATH, as a shell's `>` does."""
        fid = self.open(path, OWRITE | OTRUNC)
        try:
            self.write_fid(fid, text)
        finally:
            self.clunk(fid)

    def clunk(self, fid: int) -> None:
        self.client.rpc(m.Tclunk(fid))

    def make(self, name: str, command: str, options: str = "") -> None:
        """Make a job that never falls due in a test."""
        self.write("/clone", f"{name}:@yearly:{command}")
        if options:
            self.write(f"/jobs/{name}/options", options)

    def run(self, name: str) -> str:
        """Run a job and wait for its end: its history line."""
        fid = self.open(f"/jobs/{name}/ctl", 2)
        self.write_fid(fid, "run")
        number = self.read_fid(fid).strip()
        self.clunk(fid)
        return self.read(f"/jobs/{name}/runs/{number}/wait")

    def output(self, name: str, number: int = 1) -> str:
        """What a run printed."""
        return self.read(f"/jobs/{name}/runs/{number}/output")

    def remove(self, path: str) -> None:
        self.client.rpc(m.Tremove(self.walk(path)))

    def stat(self, path: str) -> Stat:
        """The attributes of the file at PATH."""
        found: Stat = self.client.rpc(m.Tstat(self.walk(path))).stat
        return found

    def set_stat(self, path: str, **changes: Any) -> None:
        """A Twstat of what is given."""
        self.client.rpc(m.Twstat(self.walk(path), UNTOUCHED._replace(**changes)))

    def rename(self, path: str, name: str) -> None:
        self.set_stat(path, name=name)


def readable_by_all(path: str) -> bool:
    """Whether every user may come to PATH, and execute it or look into it."""
    parts = [Path(path).resolve(), *Path(path).resolve().parents]
    return all(part.stat().st_mode & stat.S_IXOTH for part in parts)


class Jobd:
    """A jobd of its own, until the end of a test, at `port` of 127.0.0.1 and the unix socket `socket`."""

    def __init__(
        self,
        test: unittest.TestCase,
        *options: str,
        user: str = "root",
        addresses: Sequence[str] = (),
        tls: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Run by USER, with OPTIONS; ADDRESSES take the place of those at which it listens.

        With TLS, the arguments of an `ssl:` address, it is that which listens at `port`.
        """
        self._test = test
        self.directory = Path(tempfile.mkdtemp(prefix="jobd-security-"))
        test.addCleanup(subprocess.run, ["rm", "-rf", str(self.directory)], check=True)
        self.directory.chmod(0o755)
        self.state = self.directory / "state"
        self.socket = self.directory / "socket"
        self.log = self.directory / "log"
        self.port = free_port()
        os.chown(self.directory, uid_of(user), -1)
        self._user = user
        self._environment = dict(environment or {})
        tcp = f"ssl:{self.port}:interface=127.0.0.1:{tls}" if tls else f"127.0.0.1:{self.port}"
        listen = list(addresses) or [tcp, f"unix:{self.socket}"]
        self._listens = [(socket.AF_INET, ("127.0.0.1", self.port)), (socket.AF_UNIX, str(self.socket))]
        if addresses:
            self._listens.clear()
        self.arguments = [part for address in listen for part in ("--fsaddr", address)]
        self.arguments += ["--dbdir", str(self.state), *options]
        self._process: subprocess.Popen[bytes] | None = None
        test.addCleanup(self.stop)
        self.start()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._process = start_jobd(self.arguments, self.log, self._user, self._environment)
        wait_until(self._is_up, f"a start of jobd: {self.log.read_text()}")

    def _is_up(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"jobd did not start:\n{self.log.read_text()}")
        for family, address in self._listens:
            with socket.socket(family) as probe:
                if probe.connect_ex(address):
                    return False
        return True

    def stop(self) -> None:
        """End it, as a service manager does. AssertionError where it has logged a failure."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        process.wait(TIMEOUT)
        if "Traceback" in self.log.read_text():
            raise AssertionError(f"jobd logged a failure:\n{self.log.read_text()}")

    def kill(self) -> None:
        """End it as `kill -9` does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(TIMEOUT)
        self._process = None

    def connect(self, user: str | int = "root", *, tcp: bool = False) -> Client:
        """A connection that USER makes."""
        with acting_as(user if isinstance(user, int) else uid_of(user)):
            if tcp:
                connection = socket.socket()
                connection.connect(("127.0.0.1", self.port))
            else:
                connection = socket.socket(socket.AF_UNIX)
                connection.connect(str(self.socket))
        self._test.addCleanup(connection.close)
        return Client(connection)

    def user(self, user: str | int = "root") -> User:
        """What USER sees, and may do."""
        return self.connect(user).attach()

    def over_tls(self, context: ssl.SSLContext) -> Client:
        """A connection to `port` over TLS."""
        connection = socket.create_connection(("127.0.0.1", self.port))
        self._test.addCleanup(connection.close)
        secured = context.wrap_socket(connection, server_hostname="localhost")
        self._test.addCleanup(secured.close)
        return Client(secured)


def start_jobd(
    arguments: Sequence[str],
    log: Path,
    user: str = "root",
    environment: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
) -> subprocess.Popen[bytes]:
    """Start `jobd` with ARGUMENTS as USER, logging to LOG; PREFIX is a program that starts it."""
    python, path = sys.executable, str(ROOT)
    command = list(prefix)
    if user != "root":
        account = pwd.getpwnam(user)
        command = [
            "setpriv",
            f"--reuid={account.pw_uid}",
            f"--regid={account.pw_gid}",
            "--clear-groups",
            "--",
        ]
    if command and not readable_by_all(python):
        # The interpreter of a root who keeps it at home; that of the system may do.
        python = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
        path += os.pathsep + sysconfig.get_path("purelib")
        if not os.access(python, os.X_OK):
            lacking("an interpreter that every user may execute")
    if command:
        for place in path.split(os.pathsep):
            if not readable_by_all(place):
                raise unittest.SkipTest(f"other users may not read {place}")
    with log.open("ab") as file:
        return subprocess.Popen(
            [*command, python, "-m", "jobd", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            cwd="/",
            env={"PATH": os.environ["PATH"], "TZ": "UTC", "PYTHONPATH": path, **(environment or {})},
        )


class SecurityTest(SynchronousTestCase):
    """A test with several users."""

    def setUp(self) -> None:
        require_root()

    def refused(self, *numbers: int) -> Any:
        """A context in which something is refused with one of the error NUMBERS: EACCES, EPERM."""
        return _Refused(self, numbers or (errno.EACCES, errno.EPERM))


class UsersTest(SecurityTest):
    """A test with a jobd of `user`'s, started with `options`, to which root, alice and bob are attached."""

    user = "root"
    options: tuple[str, ...] = ()

    def setUp(self) -> None:
        super().setUp()
        self.jobd = Jobd(self, *self.options, user=self.user)
        self.root, self.alice, self.bob = (self.jobd.user(name) for name in ("root", ALICE, BOB))


class _Refused:
    def __init__(self, test: unittest.TestCase, numbers: Sequence[int]) -> None:
        self._test = test
        self._numbers = numbers

    def __enter__(self) -> _Refused:
        return self

    def __exit__(self, _type: Any, error: Any, _traceback: Any) -> bool:
        if error is None:
            raise AssertionError("it was not refused")
        if not isinstance(error, NinepError):
            return False
        self.sentence = str(error)
        self._test.assertIn(error.errno, self._numbers, error)
        return True
