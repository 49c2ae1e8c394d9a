"""What a user has after `pip install`: a program, and not a test, for it has only what that has installed.

`python -I installed.py` holds the package that tox has installed, a wheel or an sdist, against what should be
in it, and jobd against what it should do.  With `--gone` it finds nothing of jobd any more.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

SCRIPTS = Path(sysconfig.get_path("scripts"))
PREFIX = Path(sys.prefix)
PATIENCE = 30

WHEEL = r"jobd/(\w+/)*\w+\.py|jobd/py\.typed|twisted/plugins/jobd_plugin\.py|jobd-\S+\.(dist-info|data)/.+"
SDIST = (
    r"(\.ci|benchmarks|changes|docs|examples|jobd|packaging|tests)/.+|twisted/plugins/jobd_plugin\.py|[^/]+\.(md|toml|ini)"
    r"|LICENSE|PKG-INFO|\.gitignore|\.dockerignore"
)
STRAY = r".*(__pycache__|\.pyc|_trial_temp|\.hypothesis|dropin\.cache|\.db|\.sock)(/.*)?"
EXPECTED = {
    "wheel": (
        "jobd/py.typed",
        "jobd/testing/__init__.py",
        "jobd/cli/main.py",
        "twisted/plugins/jobd_plugin.py",
    ),
    "sdist": (
        "LICENSE",
        "NEWS.md",
        "tests/installed.py",
        "docs/tutorial.md",
        "benchmarks/burst.py",
        "examples/clock.py",
        "packaging/Containerfile",
    ),
}


def names_in(package: str) -> tuple[str, list[str]]:
    """Which kind of package it is, and the files in it."""
    if package.endswith(".whl"):
        with zipfile.ZipFile(package) as archive:
            return "wheel", archive.namelist()
    with tarfile.open(package) as archive:
        return "sdist", [
            member.name.partition("/")[2] for member in archive if member.isfile() or member.issym()
        ]


def check_package(package: str) -> None:
    """Nothing is missing in PACKAGE, and nothing else is in it."""
    kind, names = names_in(package)
    allowed = WHEEL if kind == "wheel" else SDIST
    wrong = [name for name in names if not re.fullmatch(allowed, name) or re.fullmatch(STRAY, name)]
    missing = [name for name in EXPECTED[kind] if name not in names]
    assert not wrong and not missing, (wrong, missing)


def run(*command: str, **environment: str) -> str:
    """What a command of the installation prints; its failure is ours."""
    return subprocess.run(
        [str(SCRIPTS / command[0]), *command[1:]],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    ).stdout


def check_session() -> None:
    """The commands are there, and a job that is added and run says so in its log."""
    version = importlib.metadata.version("jobd")
    for command in (("twistd", "jobd"), ("twist", "jobd"), ("python", "-m", "twisted", "jobd"), ("jobd",)):
        assert "--fsaddr" in run(*command, "--help"), command
        assert run(*command, "--version") == f"jobd {version}\n", command
    assert (PREFIX / "share/jobd/systemd/jobd.service").exists()
    directory = Path(tempfile.mkdtemp(prefix="jobd-installed-"))
    address = f"unix:{directory}/socket"
    with (directory / "log").open("wb") as log:
        daemon = subprocess.Popen(
            [str(SCRIPTS / "jobd"), "--fsaddr", address, "--dbdir", str(directory / "state")], stderr=log
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while not (directory / "socket").exists():
            assert daemon.poll() is None and time.monotonic() < deadline, (directory / "log").read_text()
            time.sleep(0.05)
        run("jobctl", "add", "hello", "@hourly", "echo hello world", "--start", JOBD_ADDR=address)
        run("jobctl", "run", "--wait", "hello", JOBD_ADDR=address)
        assert ":hello world\n" in run("jobctl", "log", "hello", JOBD_ADDR=address)
        assert "hello" in run("jobctl", "ls", JOBD_ADDR=address)
    finally:
        daemon.terminate()
        status = daemon.wait(PATIENCE)
    assert status == 0, (directory / "log").read_text()
    shutil.rmtree(directory)


def check_gone() -> None:
    """Nothing of jobd is left: no module, no plugin, no command, no file with its name."""
    assert importlib.util.find_spec("jobd") is None
    assert "jobd" not in [line.split()[0] for line in run("twistd", "--help").splitlines() if line.strip()]
    # pip leaves empty directories below share.
    left = [path for path in PREFIX.rglob("*jobd*") if not path.is_dir() or any(path.rglob("*.*"))]
    assert not left, left


if __name__ == "__main__":
    if "--gone" in sys.argv:
        check_gone()
    else:
        check_package(os.environ["TOX_PACKAGE"])
        check_session()
