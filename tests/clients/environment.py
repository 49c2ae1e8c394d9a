"""Python packages that only a client of the tests needs, each installed in a directory of its own.

They cannot share one: p9fs and python-9p both bring a package named py9p, each its own.

    python -m tests.clients.environment

installs them all.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.guest.packages import MissingError, cache, cached
from tests.optional import in_ci, lacking

PACKAGES = ("p9fs", "python-9p")


def require(package: str) -> Path:
    """The directory with PACKAGE, for PYTHONPATH. Where it is not, the test skips, or in CI fails."""
    if not (in_ci() or (cache() / _name(package)).is_dir()):
        lacking(f"{package}; `python -m tests.clients.environment` installs it")
    try:
        return install(package)
    except MissingError as error:
        lacking(str(error))


def install(package: str) -> Path:
    """The directory with PACKAGE, installed by pip if it is not there. Raises MissingError."""
    return cached(_name(package), lambda directory: _install(package, directory))


def _name(package: str) -> str:
    return f"{package}-{sys.implementation.cache_tag}"


def _install(package: str, directory: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--only-binary", ":all:"]
    done = subprocess.run([*pip, "--target", directory, package], capture_output=True, text=True, check=False)
    if done.returncode:
        raise MissingError(f"pip install {package}: {done.stderr.strip()}")


if __name__ == "__main__":
    for name in PACKAGES:
        print(name, install(name))
