"""Boots the guest, has it run a script on a mount of a 9P server, and takes what the script left behind."""

from __future__ import annotations

import asyncio
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.guest.gateway import Gateway
from tests.guest.kernel import Kernel, prepare

# What stands for 127.0.0.1 of this machine.
SERVER = "10.0.2.2"

# User-mode Linux is several processes, all of one group. This ends what is left of it when its own standard
# input is closed: when the run is over, and also when we are killed before.
KEEPER = 'cat; kill -s KILL -- "-$1" 2>/dev/null'

# One boot in forty ends in a panic, its first process unable to fork (6.1.176, measured): try again then, and
# where nothing is seen of it for so many seconds.
BOOTS = 4
BOOT_TIMEOUT = 30

CONSOLE_LINES = 20


class GuestError(Exception):
    """The guest did not come up, or did not end in time; the text holds the last lines it said."""


@dataclass(frozen=True)
class Result:
    """How a script ended. Of a mount that failed `status` is 32, mount(8)'s own, and `stderr` tells why."""

    status: int
    stdout: str
    stderr: str


def run(script: str, port: int, options: str = "", timeout: float = 60) -> Result:
    """Mount the 9P server at 127.0.0.1:`port` in a guest and run a shell script there; blocks until it ends.

    The script is one for busybox's shell. It begins in /mnt, the mount, as root; `su guest -c` makes it an
    ordinary user, with the uid 1000; `host PROGRAM` runs a program of this machine; /tmp is its own.
    `options` are mount options, such as `version=9p2000.u`; `timeout` is in seconds and counts the boot too.

    Raises MissingError where no guest can run, GuestError where it did not come up or end in time.
    """
    kernel = prepare()
    for _ in range(BOOTS):
        with tempfile.TemporaryDirectory(prefix="jobd-guest-") as name:
            directory = Path(name)
            (directory / "script").write_text(script)
            parameters = {"run": name, "server": SERVER, "port": str(port), "options": options}
            ended = asyncio.run(_boot(kernel, directory, parameters, timeout))
            if (directory / "status").exists():
                status, stdout, stderr = (_text(directory / file) for file in ("status", "stdout", "stderr"))
                return Result(int(status), stdout, stderr)
            said = _last_lines(directory)
            if _is_up(directory):
                raise GuestError(f"{'died' if ended else f'not ended after {timeout:g} seconds'}\n{said}")
    raise GuestError(f"did not come up\n{said}")


async def _boot(kernel: Kernel, directory: Path, parameters: dict[str, str], timeout: float) -> bool:
    """Start the kernel and its network, and wait until it is gone; False if it had to be ended."""
    gateway = Gateway()
    gateway.start()
    try:
        return await _run_kernel(kernel, directory, gateway.guest_end.fileno(), parameters, timeout)
    finally:
        gateway.stop()


async def _run_kernel(
    kernel: Kernel, directory: Path, link: int, parameters: dict[str, str], timeout: float
) -> bool:
    environment = dict(os.environ)
    if kernel.preload:
        environment["LD_PRELOAD"] = str(kernel.preload)
    with (directory / "console").open("wb") as console:
        guest = await asyncio.create_subprocess_exec(
            kernel.program, "mem=128M", "quiet", "panic=-1", f"uml_dir={directory}", "umid=guest",
            "root=/dev/root", "rootfstype=hostfs", f"rootflags={kernel.root}", "ro", "init=/init",
            "con=null", f"con0=null,fd:{console.fileno()}", "ssl=null",
            f"vec0:transport=fd,fd={link},depth=64",
            *(f"{key}={value}" for key, value in parameters.items()),
            stdin=asyncio.subprocess.DEVNULL, stdout=console, stderr=console,
            pass_fds=(link, console.fileno()), env=environment, start_new_session=True,
        )  # fmt: skip
    keeper = await asyncio.create_subprocess_exec(
        "/bin/sh", "-c", KEEPER, "sh", str(guest.pid), stdin=asyncio.subprocess.PIPE, start_new_session=True
    )
    try:
        if not await _ends(guest, min(timeout, BOOT_TIMEOUT)) and _is_up(directory):
            await _ends(guest, timeout - BOOT_TIMEOUT)
        return guest.returncode is not None
    finally:
        assert keeper.stdin is not None
        keeper.stdin.close()
        await asyncio.gather(keeper.wait(), guest.wait())


async def _ends(guest: asyncio.subprocess.Process, timeout: float) -> bool:
    try:
        await asyncio.wait_for(guest.wait(), timeout)
    except asyncio.TimeoutError:
        return False
    return True


def _is_up(directory: Path) -> bool:
    return (directory / "stdout").exists()


def _text(path: Path) -> str:
    return path.read_text(errors="backslashreplace") if path.exists() else ""


def _last_lines(directory: Path) -> str:
    parts = []
    for name in ("console", "stdout", "stderr"):
        lines = _text(directory / name).splitlines()[-CONSOLE_LINES:]
        parts += [f"{name}:", *(f"    {line}" for line in lines)]
    return "\n".join(parts)
