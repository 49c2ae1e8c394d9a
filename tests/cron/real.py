"""Debian's own cron, in a tree and at a pace of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

_NOTE = re.compile(r"(?P<time>[0-9]+) \((?P<user>\S+)\) CMD \(\s*: (?P<number>[0-9]+)\)")


def live(
    program: Path, directory: Path, crontabs: Mapping[str, str], users: set[str], zone: str, span: range
) -> dict[int, list[int]]:
    """When PROGRAM, a cron, runs the commands `: N` of CRONTABS by path in SPAN: epoch seconds, by N.

    SPAN is of epoch seconds, and begins with a boot of the system.  The tree is made in DIRECTORY.
    """
    root = directory / "root"
    _make_tree(root, program, crontabs, users, zone)
    faster, notes = root / "faster.so", root / "notes"
    source = Path(__file__).with_name("faster.c")
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-o", faster, source, "-ldl"], check=True
    )
    loader = next(path for path in _libraries(program) if "/ld-linux" in path)
    subprocess.run(
        [
            "unshare",
            "--map-root-user",
            f"--root={root}",
            loader,
            "--preload",
            "/faster.so",
            "/cron",
            "-f",
            "-L1",
        ],
        env={
            "FROM": str(span.start),
            "TO": str(span.stop),
            "NOTES": "/notes",
            "TZ": zone,
            "PATH": os.environ["PATH"],
        },
        stdin=subprocess.DEVNULL,
        check=True,
    )
    times: dict[int, list[int]] = defaultdict(list)
    for line in notes.read_text().splitlines():
        if match := _NOTE.fullmatch(line):
            times[int(match["number"])].append(int(match["time"]))
        elif " INFO (" not in line:
            raise AssertionError(f"cron said {line!r}")
    return times


def _make_tree(root: Path, program: Path, crontabs: Mapping[str, str], users: set[str], zone: str) -> None:
    for name in ("etc/cron.d", "var/spool/cron/crontabs", "var/run", "run", "tmp"):
        (root / name).mkdir(parents=True)
    for path, text in crontabs.items():
        copy = root / path.lstrip("/")
        copy.write_text(text)
        copy.chmod(0o644)
    ids = dict(zip(["root", *sorted(users - {"root"})], range(len(users) + 1), strict=False))
    (root / "etc/passwd").write_text(
        "".join(f"{name}:x:{each}:{each}::/:/bin/sh\n" for name, each in ids.items())
    )
    (root / "etc/group").write_text("".join(f"{name}:x:{each}:\n" for name, each in ids.items()))
    (root / "etc/nsswitch.conf").write_text("passwd: files\ngroup: files\n")
    shutil.copy(program, root / "cron")
    for path in [*_libraries(program), f"/usr/share/zoneinfo/{zone}"]:
        copy = root / path.lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)


def _libraries(program: Path) -> list[str]:
    found = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return re.findall(r"(/\S+) \(0x", found)
