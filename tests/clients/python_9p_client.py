"""A client of the session test, by the package python-9p, whose codec is plan9port's.

python python_9p_client.py PORT
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from py9p import DMDIR, OREAD, OTRUNC, OWRITE, Client, RemoteError, decode_dir
from serving import serve

ROOT, FID = 0, 1


class Session:
    def __init__(self, port: int) -> None:
        self.client = Client.connect_tcp("127.0.0.1", port)
        self.client.negotiate()
        self.client.attach(ROOT, uname="root")

    def names(self, path: str) -> list[str]:
        names, entries = [], self._contents(path)
        while entries:
            size = 2 + int.from_bytes(entries[:2], "little")
            names.append(decode_dir(entries[:size]).name)
            entries = entries[size:]
        return names

    def read(self, path: str) -> str:
        return self._contents(path).decode()

    def write(self, path: str, text: str) -> None:
        with self._walked(path):
            self.client.open(FID, OWRITE | OTRUNC)
            self.client.write(FID, text.encode())

    def mkdir(self, path: str) -> None:
        parent, _, name = path.rpartition("/")
        with self._walked(parent):
            self.client.create(FID, name, DMDIR | 0o755, OREAD)

    def remove(self, path: str) -> None:
        self.client.walk(ROOT, FID, path)
        self.client.remove(FID)

    def _contents(self, path: str) -> bytes:
        contents = b""
        with self._walked(path):
            self.client.open(FID, OREAD)
            while more := self.client.read(FID, offset=len(contents)):
                contents += more
        return contents

    @contextmanager
    def _walked(self, path: str) -> Iterator[None]:
        self.client.walk(ROOT, FID, path)
        try:
            yield
        finally:
            self.client.clunk(FID)


serve(Session(int(sys.argv[1])), RemoteError, str)
