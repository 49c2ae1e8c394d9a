"""A walk through a page: its commands are typed in their order, and print what the page shows."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import sys
import tempfile
import time
import unittest
from collections.abc import Sequence
from pathlib import Path

from tests.daemon import ROOT, Daemon, free_port
from tests.docs import mounted
from tests.docs.page import INTERRUPT, Block, Command, read_page
from tests.docs.shown import pattern
from tests.docs.terminal import Terminal
from tests.guest.machine import SERVER

PORTS = ("5640", "5641")
"""The ports of the pages. Other ones stand for them."""

PERIOD, MARGIN = 300, 20
"""Seconds. No walk begins so little before the next PERIOD: a page's jobs that fall due each five minutes are
not meant to do so while one reads it."""

PROGRAMS = {"jobd": "jobd.__main__", "jobctl": "jobd.cli.main"}

PROGRAM = """#!/bin/sh
PYTHONPATH={root} exec {python} -c 'from {module} import main; main()' "$@"
"""


class Walk:
    """A walk through the page at PATH, in a directory of its own.

    INSTALLED is whether a shell finds jobd there from the start; else `. .venv/bin/activate` makes it so.
    """

    def __init__(self, test: unittest.TestCase, path: Path, *, installed: bool = True) -> None:
        self._test = test
        self._path = path
        self._blocks = read_page(path)
        self.left_out: list[str] = []
        """The programs that are not here, and what needs them."""
        self._directory = Path(tempfile.mkdtemp(prefix="jobd-docs-"))
        test.addCleanup(shutil.rmtree, self._directory, ignore_errors=True)
        self._directory.chmod(0o755)
        self._programs = self._directory / ".venv" / "bin"
        self._install()
        ports = {port: str(free_port()) for port in PORTS}
        self._ports = re.compile(rf"\b({'|'.join(PORTS)})\b"), ports
        self._environment = {
            "HOME": str(self._directory),
            "PATH": os.environ["PATH"],
            "JOBD_ADDR": f"127.0.0.1:{ports['5640']}",
            "NO_COLOR": "1",
            "TZ": "Europe/Berlin",
            "LC_ALL": "C.UTF-8",
        }
        if installed:
            self._environment["PATH"] = f"{self._programs}:{self._environment['PATH']}"
        self._terminals: dict[str, Terminal] = {}

    def _install(self) -> None:
        self._programs.mkdir(parents=True)
        (self._programs / "activate").write_text(f"PATH={self._programs}:$PATH\n")
        for name, module in PROGRAMS.items():
            program = self._programs / name
            program.write_text(PROGRAM.format(root=ROOT, python=sys.executable, module=module))
            program.chmod(0o755)

    def go(self) -> None:
        """Type all that is to be run. AssertionError where something else is printed than shown."""
        left = -time.time() % PERIOD
        if left < MARGIN:
            time.sleep(left)
        for in_guest, blocks in itertools.groupby(self._to_run(), lambda block: "guest" in block.marks):
            if in_guest:
                self._mount(list(blocks))
            else:
                for block in blocks:
                    self._type(block)

    def _to_run(self) -> list[Block]:
        blocks = []
        for block in self._blocks:
            program = block.marks.get("needs")
            if program is not None and shutil.which(program) is None:
                self.left_out.append(f"{self._path.name}:{block.line} needs {program}")
            elif "not run" not in block.marks:
                blocks.append(block)
        return blocks

    def _type(self, block: Block) -> None:
        if "file" in block.marks:
            (self._directory / block.marks["file"]).write_text(self._replaced(block.text))
        terminal = self._terminal(block.marks.get("terminal", ""))
        for command in block.commands:
            goes_on = "terminal" in block.marks and command is block.commands[-1]
            if command.text == INTERRUPT:
                terminal.interrupt()
            else:
                terminal.type(self._replaced(command.text))
            if goes_on and command.text != INTERRUPT:
                terminal.wait_for(pattern(command.shown))
            elif command.shown and command.shown[-1] == INTERRUPT:
                terminal.wait_for(pattern(command.shown[:-1]))
                terminal.interrupt()
                terminal.wait_for_prompt()
            else:
                self._compare(block, command, terminal.wait_for_prompt())

    def _terminal(self, name: str) -> Terminal:
        if name not in self._terminals:
            terminal = self._terminals[name] = Terminal(self._directory, self._environment)
            self._test.addCleanup(terminal.close)
        return self._terminals[name]

    def _mount(self, blocks: Sequence[Block]) -> None:
        """Type BLOCKS in a guest, which has the jobd of this walk, or one that the blocks start."""
        mounted.guest.require()
        here = next((port for name in self._terminals if name for port in [self._ports[1]["5640"]]), None)
        environment = dict(self._environment)
        if here is None:
            port = Daemon(self._test).port
            del environment["JOBD_ADDR"]
            said = mounted.outputs(blocks, port, str, environment)
        else:
            environment["JOBD_ADDR"] = f"{SERVER}:{here}"
            said = mounted.outputs(blocks, int(here), self._replaced_in_guest, environment)
        commands = [(block, command) for block in blocks for command in block.commands]
        for (block, command), output in zip(commands, said, strict=True):
            self._compare(block, command, output)

    def _replaced(self, text: str) -> str:
        words, ports = self._ports
        return words.sub(lambda found: ports[found[1]], text)

    def _replaced_in_guest(self, text: str) -> str:
        return self._replaced(text).replace("127.0.0.1", SERVER)

    def _compare(self, block: Block, command: Command, output: str) -> None:
        shown = [line for line in command.shown if line != INTERRUPT]
        if not pattern(shown).fullmatch(output):
            raise AssertionError(
                f"{self._path.name}:{block.line}: $ {command.text}\n{output}where the page shows\n"
                + "".join(f"{line}\n" for line in shown)
            )
