"""What the daemon says of itself: levels for its log, and the lines of `--debug`."""

from __future__ import annotations

import os
import sys
from typing import IO

from twisted.logger import (
    FilteringLogObserver,
    InvalidLogLevelError,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    LogPublisher,
    globalLogPublisher,
)

_log = Logger("jobd.logs")


def parse_log_level(text: str) -> LogLevelFilterPredicate:
    """The filter that `info`, or `warn,jobd.jobs=debug`, means; ValueError where it means none."""
    first, *parts = [part.strip() for part in text.split(",")]
    predicate = LogLevelFilterPredicate(defaultLogLevel=_level(first))
    for part in parts:
        name, equals, level = part.partition("=")
        if not equals or not name:
            raise ValueError(f"{part!r} is not PART=LEVEL, such as jobd.jobs=debug")
        predicate.setLogLevelForNamespace(name, _level(level))
    return predicate


def _level(name: str) -> LogLevel:
    try:
        level: LogLevel = LogLevel.levelWithName(name.strip())
        return level
    except InvalidLogLevelError:
        names = ", ".join(level.name for level in LogLevel.iterconstants())
        raise ValueError(f"there is no level {name!r}: {names} are allowed") from None


class _Filtered(FilteringLogObserver):
    """A log that has only what `--log-level` lets pass."""


def use_log_level(predicate: LogLevelFilterPredicate) -> None:
    """Let every log that was begun by now have only what PREDICATE lets pass.

    To be called again once the reactor runs: `twistd` begins its log before it starts a service, `twist`
    after that; what is said meanwhile goes to a `LogPublisher` that waits for the log.
    """
    # Twisted has no public list of its logs.
    for observer in tuple(globalLogPublisher._observers):
        if not isinstance(observer, (_Filtered, LogPublisher)):
            globalLogPublisher.removeObserver(observer)
            globalLogPublisher.addObserver(_Filtered(observer, [predicate]))


def open_log(path: str) -> IO[str]:
    """The file at PATH, to append a log to; OSError where there can be none."""
    # A log may tell of commands, and is not for everybody.
    return open(
        os.path.abspath(path),
        "a",
        encoding="utf-8",
        errors="backslashreplace",
        opener=lambda name, flags: os.open(name, flags, 0o640),
    )


def reopen_log(log: IO[str]) -> None:
    """Go on in the file of the name of LOG, which was moved away; as before, where there can be none."""
    try:
        with open_log(log.name) as new:
            os.dup2(new.fileno(), log.fileno(), inheritable=False)
    except OSError as error:
        _log.error("{path}: {why}; the log goes on in the old file", path=log.name, why=error.strerror)


def trace_to_stderr(line: str) -> None:
    """A line of `--debug`."""
    print(line, file=sys.stderr, flush=True)
