"""The guest's kernel and its root directory, built from two Debian packages.

The kernel is user-mode Linux: a real Linux with the 9p file system as a module, compiled to run as an
ordinary process. It needs no privileges, no virtualisation and no disk image: its root is a directory of
this machine, and so are the files that a run leaves behind.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.guest import packages

# Part of the cache's name: raise it when what is built below changes.
REVISION = 1

# In loading order, each after those it needs.
MODULES = ("netfs", "fscache", "9pnet", "9pnet_fd", "9p")

USERS = "root::0:0:root:/root:/bin/sh\nguest::1000:1000::/tmp:/bin/sh\n"
GROUPS = "root:x:0:\nguest:x:1000:\n"


@dataclass(frozen=True)
class Kernel:
    """What a run needs of the cache."""

    program: Path
    root: Path
    preload: Path | None


def is_prepared() -> bool:
    """Is the kernel in the cache, so that a run needs no network?"""
    return (packages.cache() / _name()).is_dir()


def prepare() -> Kernel:
    """The kernel, fetched and built first if it is not in the cache. Raises MissingError."""
    if platform.machine() != "x86_64":
        raise packages.MissingError(f"user-mode Linux does not run on {platform.machine()}")
    directory = packages.cached(_name(), _build)
    preload = directory / "xsave.so"
    return Kernel(directory / "linux.uml", directory / "root", preload if preload.exists() else None)


def _name() -> str:
    return f"guest-{REVISION}"


def _build(directory: Path) -> None:
    tree = directory / "packages"
    packages.unpack("user-mode-linux", tree)
    packages.unpack("busybox-static", tree)
    (tree / "usr/bin/linux.uml").rename(directory / "linux.uml")
    _build_root(directory / "root", tree)
    if "amx_tile" in Path("/proc/cpuinfo").read_text():
        _compile_preload(directory / "xsave.so")
    shutil.rmtree(tree)


def _build_root(root: Path, tree: Path) -> None:
    for name in ("bin", "dev", "etc", "host", "mnt", "modules", "proc", "root", "run", "sys", "tmp"):
        (root / name).mkdir(parents=True)
    for name in MODULES:
        (module,) = tree.glob(f"usr/lib/uml/modules/**/{name}.ko")
        module.rename(root / "modules" / module.name)
    busybox = root / "bin/busybox"
    next(tree.glob("**/bin/busybox")).rename(busybox)
    for applet in subprocess.check_output([busybox, "--list"], text=True).split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text(USERS)
    (root / "etc/group").write_text(GROUPS)
    here = Path(__file__).parent
    for script, target in (("init.sh", "init"), ("host.sh", "bin/host")):
        shutil.copyfile(here / script, root / target)
        (root / target).chmod(0o755)


def _compile_preload(target: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        raise packages.MissingError(
            "user-mode Linux needs a C compiler on a processor with AMX: gcc and libc6-dev"
        )
    source = Path(__file__).parent / "xsave.c"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", target, source], check=True)
