"""The commands of a page, as its text has them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

FENCE = re.compile(r"( *)(```+)(\S*)\s*")
MARK = re.compile(r"<!-- (terminal|guest|needs|not run|file)(?:: (.+))? -->")
INTERRUPT = "^C"


class PageError(Exception):
    """A page that can't be read; the text says where and why."""


@dataclass
class Command:
    """What is typed at once, and what it prints, as shown."""

    text: str
    shown: list[str] = field(default_factory=list)


@dataclass
class Block:
    """A block of commands, or a file.

    `marks` is what the comments before it say: the word of each, and what follows the colon.
    """

    line: int
    marks: dict[str, str]
    commands: list[Command]
    text: str


def read_page(path: Path) -> list[Block]:
    """The blocks of commands and the files of the page at PATH, in order. Raises PageError."""
    blocks = []
    lines = iter(enumerate(path.read_text().splitlines(), 1))
    marks: dict[str, str] = {}
    for number, line in lines:
        mark = MARK.fullmatch(line.strip())
        fence = FENCE.fullmatch(line)
        if mark:
            marks[mark[1]] = mark[2] or ""
        elif fence:
            body = list(_body(lines, fence[1], fence[2]))
            try:
                if fence[3] == "console":
                    blocks.append(Block(number, marks, _commands(body), ""))
                elif "file" in marks:
                    blocks.append(Block(number, marks, [], "".join(f"{text}\n" for text in body)))
                elif marks:
                    raise PageError("a mark before what is neither commands nor a file")
            except PageError as error:
                raise PageError(f"{path}:{number}: {error}") from None
            marks = {}
        elif line.strip() and marks:
            raise PageError(f"{path}:{number}: a mark without a block")
        elif re.match(r" {4,}\$ ", line):
            raise PageError(f"{path}:{number}: a command outside a block of the kind console")
    return blocks


def _body(lines: Iterator[tuple[int, str]], indent: str, fence: str) -> Iterator[str]:
    for _, line in lines:
        if line == indent + fence:
            return
        yield line.removeprefix(indent)


def _commands(body: list[str]) -> list[Command]:
    commands: list[Command] = []
    for line in body:
        if line.startswith("$ "):
            commands.append(Command(line[2:]))
        elif not commands and line == INTERRUPT:
            commands.append(Command(INTERRUPT))
        elif not commands:
            raise PageError("output before the first command")
        elif line.startswith("> ") and not commands[-1].shown:
            commands[-1].text += "\n" + line[2:]
        else:
            commands[-1].shown.append(line)
    if not commands:
        raise PageError("a block without a command")
    return commands
