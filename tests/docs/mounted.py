"""Commands that need a kernel's mount, typed in a Linux guest: those of blocks with the mark `guest`.

They see the programs and files of this machine, which they can't change; /run, /mnt and /etc/fstab are
their own.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence

from tests import guest
from tests.docs.page import INTERRUPT, Block
from tests.docs.terminal import TIMEOUT

SCRIPT = r"""
umount /host/mnt
mount -o remount,bind,ro /host
mount -t tmpfs run /host/run
mount -t proc proc /host/proc
mount -t devtmpfs dev /host/dev
if [ -e /host/etc/fstab ]; then
    : >/host/run/fstab
    mount --bind /host/run/fstab /host/etc/fstab
fi
mkdir /host/run/home
cat >/host/run/commands <<'END-OF-COMMANDS'
%s
END-OF-COMMANDS
host env -i %s bash /run/commands 2>&1
"""

PRELUDE = r"""
cd /run/home
ls() { command ls -C "$@"; }    # as at a terminal
begin() {
    lines=$1; shift
    : >/run/output
    "$@" >/run/output 2>&1 & begun=$!
    until [ "$(wc -l </run/output)" -ge "$lines" ]; do sleep 0.1; done
    cat /run/output
}
follow() { begin "$@"; kill $begun; }
leave_on() { begin "$@"; daemon=$begun; }
"""

NEXT = "jobd-docs-next"


def outputs(
    blocks: Sequence[Block], port: int, replace: Callable[[str], str], environment: Mapping[str, str]
) -> list[str]:
    """What each command of BLOCKS prints in a guest whose harness mounts what is at PORT."""
    script = [PRELUDE]
    for block in blocks:
        if "file" in block.marks:
            script.append(f"cat >{block.marks['file']} <<'END-OF-FILE'\n{block.text}END-OF-FILE\n")
        for number, command in enumerate(block.commands, 1):
            text, lines = command.text, len(command.shown)
            if text == INTERRUPT:
                text = "kill $daemon; wait $daemon"
            elif command.shown and command.shown[-1] == INTERRUPT:
                text = f"follow {lines - 1} {text}"
            elif "terminal" in block.marks and number == len(block.commands):
                text = f"leave_on {lines} {text}"
            script += [text, f"echo {NEXT}"]
    words = " ".join(shlex.quote(f"{name}={value}") for name, value in environment.items())
    result = guest.run(SCRIPT % (replace("\n".join(script)), words), port, timeout=3 * TIMEOUT)
    # A shell at a terminal has no lines of its own.
    parts = re.sub(r"^\S+: line \d+: ", "bash: ", result.stdout, flags=re.MULTILINE).split(f"{NEXT}\n")
    if result.status or result.stderr or parts[-1]:
        raise AssertionError(f"the guest ended with {result.status}\n{result.stdout}{result.stderr}")
    return parts[:-1]
