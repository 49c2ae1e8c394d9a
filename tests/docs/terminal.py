"""A shell at a terminal, as somebody types at it."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import termios
import time
from collections.abc import Mapping
from pathlib import Path

TIMEOUT = 30
"""Seconds in which a command ends, or shows what it shall show."""

PROMPT = "\x01jobd-docs\x02"


class Terminal:
    """Bash at a terminal of its own, in DIRECTORY, with ENVIRONMENT."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._terminal, other = pty.openpty()
        mode = termios.tcgetattr(other)
        mode[1] &= ~termios.OPOST
        mode[3] &= ~termios.ECHO
        termios.tcsetattr(other, termios.TCSANOW, mode)
        # Whoever leads a session and opens a terminal has it from then on: `^C` is for that.
        self._shell = subprocess.Popen(
            ["sh", "-c", 'exec bash --norc --noprofile --noediting -i <>"$0" >&0 2>&0', os.ttyname(other)],
            cwd=directory,
            env={**environment, "PS1": PROMPT, "PS2": ""},
            stdin=subprocess.DEVNULL,
            stdout=other,
            stderr=other,
            start_new_session=True,
        )
        os.close(other)
        self._said = ""
        self.wait_for_prompt()

    def type(self, text: str) -> None:
        """Type TEXT and return."""
        os.write(self._terminal, f"{text}\n".encode())

    def interrupt(self) -> None:
        """Type `^C`."""
        os.write(self._terminal, b"\x03")

    def wait_for_prompt(self) -> str:
        """What was said until the shell asks for the next command."""
        return self.wait_for(re.compile(re.escape(PROMPT)))

    def wait_for(self, wanted: re.Pattern[str]) -> str:
        """What was said before WANTED, which has come now."""
        deadline = time.monotonic() + TIMEOUT
        while not (found := wanted.search(self._said)):
            if not select.select([self._terminal], [], [], max(0, deadline - time.monotonic()))[0]:
                raise AssertionError(f"not in time: {wanted.pattern!r}; so far it says\n{self._said}")
            try:
                self._said += os.read(self._terminal, 0x10000).decode("utf-8", "backslashreplace")
            except OSError:  # the shell is gone
                raise AssertionError(f"the shell ended, and said\n{self._said}") from None
        before = self._said[: found.start()]
        self._said = self._said[found.end() :]
        return before

    def close(self) -> None:
        """End what runs, and the shell. AssertionError where a program has failed meanwhile."""
        self.interrupt()
        try:
            said = self.wait_for_prompt()
        finally:
            os.close(self._terminal)
            self._shell.wait(TIMEOUT)
        if "Traceback" in said:
            raise AssertionError(said)
