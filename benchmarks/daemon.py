"""A jobd as a process of its own, and a small blocking client, for the benchmarks of whole daemons."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from typing import Any

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from jobd.ninep import messages as m  # noqa: E402
from jobd.ninep.interfaces import OREAD, OWRITE  # noqa: E402

BALLAST = os.path.join(ROOT, "benchmarks", "ballast.py")
TICKS = os.sysconf("SC_CLK_TCK")


class Client:
    """9P, one message at a time."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._file = self._socket.makefile("rb")
        self._fid = 0
        self.ask(m.Tversion(1 << 16, m.VERSION_9P2000), m.NOTAG)
        self.ask(m.Tattach(0, m.NOFID, "", "", m.NOFID))

    def ask(self, message: Any, tag: int = 1) -> Any:
        """The reply to MESSAGE."""
        self.send(message, tag)
        return self.receive()

    def send(self, message: Any, tag: int = 1) -> None:
        """Ask without waiting."""
        self._socket.sendall(m.encode(tag, message))

    def receive(self) -> Any:
        """The next reply."""
        head = self._file.read(4)
        reply = m.decode(head + self._file.read(int.from_bytes(head, "little") - 4), m.PLAIN).message
        if isinstance(reply, m.Rerror):
            raise SystemExit(f"jobd refused: {reply.ename}")
        return reply

    def open(self, path: str, mode: int = OREAD) -> int:
        """A new fid for the file at PATH, open."""
        self._fid += 1
        self.ask(m.Twalk(0, self._fid, tuple(path.split("/"))))
        self.ask(m.Topen(self._fid, mode))
        return self._fid

    def read(self, fid: int) -> bytes:
        """The beginning of an open file."""
        data: bytes = self.ask(m.Tread(fid, 0, 8192)).data
        return data

    def read_file(self, path: str) -> bytes:
        """The beginning of the file at PATH."""
        fid = self.open(path)
        data = self.read(fid)
        self.ask(m.Tclunk(fid))
        return data

    def write(self, path: str, text: str) -> None:
        """Write TEXT to the file at PATH, as one message."""
        fid = self.open(path, OWRITE)
        self.ask(m.Twrite(fid, 0, text.encode()))
        self.ask(m.Tclunk(fid))


class Daemon:
    """A jobd on the directory STATE, from here to the end of a `with`."""

    def __init__(
        self, state: str, *options: str, profile: str | None = None, ballast: tuple[int, int] = (0, 0)
    ) -> None:
        """With PROFILE, a profile of the main thread is written there at its end.

        BALLAST is what it has beside its own: MB of heap, and open files.
        """
        self.state = state
        self.socket = f"{state}.socket"
        python = [sys.executable, *(["-m", "cProfile", "-o", os.path.abspath(profile)] if profile else [])]
        jobd = [BALLAST, *map(str, ballast)] if any(ballast) else ["-m", "jobd"]
        command = [*python, *jobd, "--fsaddr", f"unix:{self.socket}", "--dbdir", state]
        self.process = subprocess.Popen(
            [*command, "--log-level", "error", "--max-jobs-per-user", "1000000", *options],
            cwd=ROOT,
            env=os.environ | {"TZ": "UTC"},
            start_new_session=True,
        )

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()

    def connect(self) -> Client:
        """A client, once the daemon serves."""
        while self.process.poll() is None:
            try:
                return Client(self.socket)
            except OSError:
                time.sleep(0.005)
        raise SystemExit("jobd did not start")

    def cpu(self) -> float:
        """Seconds of processor time that it has used, without those of its children."""
        with open(f"/proc/{self.process.pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self) -> int:
        """Bytes that it has in memory."""
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def ended(self, instant: int) -> int:
        """How many runs for INSTANT have ended."""
        return int(self._rows("SELECT count(*) FROM runs WHERE scheduled = ? AND ended", instant)[0][0])

    def starts(self, instant: int) -> list[int]:
        """When the runs for INSTANT started, in nanoseconds since 1970."""
        return [started for (started,) in self._rows("SELECT started FROM runs WHERE scheduled = ?", instant)]

    def _rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self.state}/jobd.db?mode=ro", uri=True)) as connection:
            return connection.execute(sql, parameters).fetchall()
