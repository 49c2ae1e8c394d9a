"""A walk through a page: its commands are typed in their order, and print what the page shows."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import sys
import tempfile
import time
import unittest
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.daemon import ROOT, Daemon, free_port
from tests.docs import mounted
from tests.docs.page import INTERRUPT, Block, Command, read_page
from tests.docs.shown import pattern
from tests.docs.terminal import Terminal
from tests.guest.machine import SERVER

PORTS = ("5640", "5641")
"""The ports of the pages. Other ones stand for them."""

SERVER_OF_PAGES = "server.example"
USER_OF_PAGES = "glenda"

PERIOD, MARGIN = 300, 10
"""Seconds. No walk begins so little before the next PERIOD: a page's jobs that fall due each five minutes are
not meant to do so while one reads it."""

MODULES = {"jobd": "jobd.__main__", "jobctl": "jobd.cli.main"}

SUDO = """#!/bin/sh
[ "$1" = -u ] || exec "$@"
user=$2; shift 2
exec setpriv --reuid="$user" --regid="$user" --clear-groups -- "$@"
"""


class Walk:
    """A walk through the page at PATH, in a directory of its own.

    INSTALLED is whether a shell finds jobd from the start; else `. .venv/bin/activate` makes it so. USER
    is who glenda is; if nobody, that name is anybody's.
    """

    def __init__(
        self, test: unittest.TestCase, path: Path, *, installed: bool = True, user: str | None = None
    ) -> None:
        self._test = test
        self._path = path
        self._blocks = read_page(path)
        self._user = user or USER_OF_PAGES
        self._directory = Path(tempfile.mkdtemp(prefix="jobd-docs-"))
        test.addCleanup(shutil.rmtree, self._directory, ignore_errors=True)
        self._directory.chmod(0o755)
        jobd, others = self._directory / ".venv" / "bin", self._directory / "bin"
        make_jobd(jobd)
        (jobd / "activate").write_text(f"PATH={jobd}:$PATH\n")
        _make_programs(others, {"sudo": SUDO})
        ports = {port: str(free_port()) for port in PORTS}
        self._port = ports[PORTS[0]]
        self._stand_ins = ports | {f"{SERVER_OF_PAGES}:": "localhost:", USER_OF_PAGES: self._user}
        self._environment = {
            "HOME": str(self._directory),
            "PATH": f"{others}:{os.environ['PATH']}",
            "JOBD_ADDR": f"127.0.0.1:{self._port}",
            "NO_COLOR": "1",
            "TZ": "Europe/Berlin",
            "LC_ALL": "C.UTF-8",
        }
        if installed:
            self._environment["PATH"] = f"{jobd}:{self._environment['PATH']}"
        self._terminals: dict[str, Terminal] = {}

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
            if "not run" not in block.marks and (program is None or shutil.which(program)):
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
                terminal.wait_for(pattern(command.shown, self._replaced))
            elif command.shown and command.shown[-1] == INTERRUPT:
                terminal.wait_for(pattern(command.shown[:-1], self._replaced))
                terminal.interrupt()
                terminal.wait_for_prompt()
            else:
                self._compare(block, command, terminal.wait_for_prompt(), self._replaced)

    def _terminal(self, name: str) -> Terminal:
        if name not in self._terminals:
            terminal = self._terminals[name] = Terminal(self._directory, self._environment)
            self._test.addCleanup(terminal.close)
        return self._terminals[name]

    def _mount(self, blocks: Sequence[Block]) -> None:
        """Type BLOCKS in a guest, which has the jobd of this walk, or one that the blocks start."""
        mounted.guest.require()
        environment = dict(self._environment)
        if self._terminals:
            environment["JOBD_ADDR"] = f"{SERVER}:{self._port}"
            said = mounted.outputs(blocks, int(self._port), self._replaced_in_guest, environment)
            replace = self._replaced
        else:
            del environment["JOBD_ADDR"]
            said = mounted.outputs(blocks, Daemon(self._test).port, self._with_user, environment)
            replace = self._with_user
        commands = [(block, command) for block in blocks for command in block.commands]
        for (block, command), output in zip(commands, said, strict=True):
            self._compare(block, command, output, replace)

    def _replaced(self, text: str) -> str:
        words = "|".join(map(re.escape, self._stand_ins))
        return re.sub(words, lambda found: self._stand_ins[found[0]], text)

    def _with_user(self, text: str) -> str:
        return text.replace(USER_OF_PAGES, self._user)

    def _replaced_in_guest(self, text: str) -> str:
        return self._replaced(text).replace("127.0.0.1", SERVER)

    def _compare(self, block: Block, command: Command, output: str, replace: Callable[[str], str]) -> None:
        shown = [line for line in command.shown if line != INTERRUPT]
        if not pattern(shown, replace).fullmatch(output):
            raise AssertionError(
                f"{self._path.name}:{block.line}: $ {command.text}\n{output}where the page shows\n"
                + "".join(f"{line}\n" for line in shown)
            )


def make_jobd(directory: Path) -> None:
    """Make a new DIRECTORY with the commands of jobd."""
    _make_programs(directory, {name: _program(module) for name, module in MODULES.items()})


def _program(module: str) -> str:
    """A program that is the function main of MODULE."""
    python = shlex.join([sys.executable, "-c", f"from {module} import main; main()"])
    return f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} exec {python} "$@"\n'


def _make_programs(directory: Path, texts: Mapping[str, str]) -> None:
    directory.mkdir(parents=True)
    for name, text in texts.items():
        (directory / name).write_text(text)
        (directory / name).chmod(0o755)
