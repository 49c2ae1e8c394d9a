"""Debian packages, unpacked into a cache and never installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path


class MissingError(Exception):
    """The guest cannot run here; the text says what is missing and how to get it."""


def cache() -> Path:
    """Where unpacked packages and what is built of them are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "jobd-tests"


def unpack(package: str, into: Path) -> None:
    """Download a Debian package by its name and unpack its files under a directory.

    Raises MissingError where there is no apt, or apt does not find the package.
    """
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise MissingError(f"no {tool} here: the guest's kernel is a Debian package")
    with tempfile.TemporaryDirectory() as directory:
        _command("apt-get", "download", package, cwd=directory)
        (archive,) = Path(directory).glob("*.deb")
        _command("dpkg-deb", "-x", str(archive), str(into))


def _command(*argv: str, cwd: str | None = None) -> None:
    done = subprocess.run(
        argv, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise MissingError(f"{' '.join(argv[:3])}: {reason} (`apt-get update` first?)")


def cached(name: str, build: Callable[[Path], None]) -> Path:
    """The directory `name` of the cache, filled by `build` if it is not there yet.

    It appears in one rename: runs side by side, or cut short, leave no half of one.
    """
    final = cache() / name
    if final.is_dir():
        return final
    cache().mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f"{name}.part", dir=cache()))
    try:
        part.chmod(0o755)
        build(part)
        try:
            part.rename(final)
        except OSError:
            if not final.is_dir():  # else another run was quicker
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return final
