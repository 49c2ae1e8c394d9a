"""Debian packages, downloaded and unpacked but not installed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.cron.crontabs import File, read

CRON = "cron"
SOME = (
    "cron-daemon-common",  # /etc/crontab
    "amavisd-new",
    "anacron",
    "atop",
    "awstats",
    "backupninja",
    "cacti",
    "certbot",
    "clamav-unofficial-sigs",
    "cron-apt",
    "dma",
    "e2fsprogs",
    "logcheck",
    "mailman3",
    "mdadm",
    "munin",
    "munin-node",
    "ntpsec",
    "php-common",
    "sysstat",
    "tiger",
)
"""With lines in /etc/crontab or /etc/cron.d."""


def unpack(name: str, directory: Path) -> Path:
    """The package NAME, unpacked below DIRECTORY."""
    downloads, contents = directory / f"{name}.deb", directory / name
    downloads.mkdir()
    # apt would rather be a user who may not look into a temporary directory.
    command = ["apt-get", "-qo", "APT::Sandbox::User=root", "download", name]
    subprocess.run(command, cwd=downloads, check=True, stdout=subprocess.DEVNULL)
    (archive,) = downloads.iterdir()
    subprocess.run(["dpkg-deb", "-x", archive, contents], check=True)
    subprocess.run(["dpkg-deb", "-e", archive, contents / "DEBIAN"], check=True)
    return contents


def version(contents: Path) -> str:
    """The version of an unpacked package."""
    control = (contents / "DEBIAN/control").read_text()
    return next(line.partition(": ")[2] for line in control.splitlines() if line.startswith("Version: "))


def crontabs(contents: Path) -> Iterator[File]:
    """The crontabs with users of an unpacked package."""
    for path in [contents / "etc/crontab", *sorted(contents.glob("etc/cron.d/*"))]:
        if path.is_file() and path.name != ".placeholder":
            yield read(contents.name, version(contents), f"/{path.relative_to(contents)}", path.read_text())
