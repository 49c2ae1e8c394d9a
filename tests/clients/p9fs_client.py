"""A client of the session test, by the package p9fs: python p9fs_client.py PORT DIALECT."""

from __future__ import annotations

import os
import sys

from p9fs import P9FileSystem
from py9p.py9p import RpcError
from serving import serve


class Client:
    def __init__(self, port: int, dialect: str) -> None:
        # With an aname it takes the server for diod and removes with Tremove; else it sends Tunlinkat
        # without AT_REMOVEDIR, even for a directory.
        self.files = P9FileSystem("127.0.0.1", port, "root", version=dialect, aname="/")

    def names(self, path: str) -> list[str]:
        return [os.path.basename(name.rstrip("/")) for name in self.files.ls(path, detail=False)]

    def read(self, path: str) -> str:
        # Its read goes as far as the length that stat tells.
        text: bytes = self.files.cat_file(path)
        return text.decode()

    def write(self, path: str, text: str) -> None:
        # Its public way to write begins by creating the file.
        file = self.files._open_fid(path, os.O_WRONLY | os.O_TRUNC)
        try:
            self.files._write(text.encode(), 0, file)
        finally:
            self.files._release_fid(file)

    def mkdir(self, path: str) -> None:
        self.files.mkdir(path, create_parents=False)

    def remove(self, path: str) -> None:
        self.files.rmdir(path)


def reason(error: RpcError) -> str:
    """9P2000 sends a string; the number of the others comes first."""
    what = error.args[0]
    return os.strerror(what) if isinstance(what, int) else what.decode()


serve(Client(int(sys.argv[1]), sys.argv[2]), RpcError, reason)
