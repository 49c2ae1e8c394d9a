"""The texts that jobs are written and shown in: names, messages, stamped lines, `attr=value` lines.

Pure: bytes and values in, values and text out.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from datetime import datetime, timezone
from errno import EINVAL
from functools import lru_cache
from typing import NamedTuple

from jobd.jobs.errors import JobError

MAX_COMMAND = 1 << 20
"""Bytes of a command. `jobd.jobs.launch` starts one that is longer than an argument may be."""

_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,126}[A-Za-z0-9_])?")
_PLAIN_VALUE = re.compile(r"[^\s'=]+")


class Definition(NamedTuple):
    """What a message to `clone` asks for."""

    name: str
    schedule: str
    command: str


def check_name(name: str) -> str:
    """NAME, where a job may be called that; else JobError."""
    if _NAME.fullmatch(name):
        return name
    raise JobError(
        EINVAL,
        f"job name {shorten(name)}: allowed are 1 to 128 letters, digits and '_', with '.' and '-' inside",
    )


def check_command(command: str) -> str:
    """COMMAND, where a shell can be handed it; else JobError."""
    if "\0" in command:
        raise JobError(EINVAL, "command: a NUL byte stands in it, and no program can be given one")
    if len(command.encode()) > MAX_COMMAND:
        raise JobError(EINVAL, f"command: it is longer than {MAX_COMMAND} bytes")
    return command


def decode(data: bytes, what: str) -> str:
    """The text of a message or command; JobError where it is not UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise JobError(EINVAL, f"{what}: byte {error.start + 1} is not UTF-8") from None


def parse_definition(data: bytes) -> Definition:
    """The job that `NAME:SCHEDULE:COMMAND` defines.

    White space around name and schedule is dropped, and one newline at the end of the command.
    """
    parts = decode(data, "clone").split(":", 2)
    if len(parts) != 3:
        raise JobError(
            EINVAL, f"clone: {shorten(parts[0])} has no two colons: NAME:SCHEDULE:COMMAND is expected"
        )
    name, schedule, command = parts
    return Definition(check_name(name.strip()), schedule.strip(), check_command(without_newline(command)))


def without_newline(text: str) -> str:
    """TEXT less one final newline: what `echo` adds and nobody means."""
    return text[:-1] if text.endswith("\n") else text


def shorten(text: str, length: int = 60) -> str:
    """TEXT in quotes, cut to LENGTH characters: for messages, which must stay one short line."""
    return repr(text if len(text) <= length else text[: length - 3] + "...")


def quote(value: str) -> str:
    """Quoted as Plan 9 quotes: VALUE bare where it can be, else in single quotes, with two for one."""
    if _PLAIN_VALUE.fullmatch(value):
        return value
    return "'" + value.replace("'", "''") + "'"


def attributes(pairs: Iterable[tuple[str, object]]) -> str:
    """`attr=value attr=value`, quoted; a pair whose value is None is left out."""
    return " ".join(f"{name}={quote(str(value))}" for name, value in pairs if value is not None)


def attribute_lines(pairs: Iterable[tuple[str, object]]) -> str:
    """The same, a line each."""
    return "".join(f"{name}={quote(str(value))}\n" for name, value in pairs if value is not None)


@lru_cache(maxsize=64)
def instant(epoch: float | None) -> str | None:
    """A time in an `attr=value` line: RFC 3339 in UTC, to the second or the millisecond."""
    if epoch is None:
        return None
    when = datetime.fromtimestamp(epoch, timezone.utc)
    text = when.isoformat(timespec="seconds" if epoch == int(epoch) else "milliseconds")
    return text.replace("+00:00", "Z")


def stamp(now_ns: int) -> bytes:
    """The beginning of a log line: local time as Go's Time.String gives it, and a colon.

    Nanoseconds always have nine digits, so that the columns stand.
    """
    seconds, nanoseconds = divmod(now_ns, 1_000_000_000)
    return _stamp_of(seconds) % nanoseconds


@lru_cache(maxsize=16)
def _stamp_of(seconds: int) -> bytes:
    """The stamps of one second."""
    return time.strftime("%Y-%m-%d %H:%M:%S.%%09d %z %Z:", time.localtime(seconds)).encode()
