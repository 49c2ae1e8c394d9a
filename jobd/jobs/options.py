"""The options of a job: a table of what there is, and the text they are read and written as."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from errno import EINVAL
from types import MappingProxyType
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from jobd.jobs.errors import JobError
from jobd.jobs.texts import decode, shorten
from jobd.schedule.durations import format_duration, parse_duration

_NONE: Mapping[str, str] = MappingProxyType({})
MAX_OPTIONS = 64 << 10
"""Bytes of a job's options, as they are kept."""
_COUNT_MAX = 1_000_000
_POLICY_MAX = 1_000


class Policy(NamedTuple):
    """A policy that may carry a number: `skip`, `queue 3`."""

    name: str
    number: int = 0


class Options(NamedTuple):
    """What a job's `options` file says; the defaults are those of a job that says nothing."""

    description: str = ""
    timezone: str = ""
    """An IANA name; empty is the daemon's own."""
    dst: str = "vixie"
    catchup: Policy = Policy("last")
    deadline: float = 3600.0
    """Seconds after its instant at which a missed run is not worth starting."""
    overlap: Policy = Policy("skip")
    timeout: float = 0.0
    """Seconds an attempt may take; 0 is for ever."""
    grace: float = 10.0
    """Seconds between TERM and KILL."""
    retries: int = 0
    retry_delay: float = 10.0
    jitter: float = 0.0
    """Seconds over which a stable hash spreads the starts."""
    directory: str = ""
    """Where it runs; empty is the owner's home."""
    shell: str = "/bin/sh"
    env: Mapping[str, str] = _NONE
    umask: int = 0o022
    nice: int = 0
    limit: Mapping[str, str] = _NONE
    keep_log: int = 1 << 20
    """Bytes of log that are kept."""
    keep_runs: int = 100
    """Runs whose history and output are kept."""
    max_output: int = 1 << 20
    """Bytes of a run's output that are kept."""
    on_failure: str = ""
    """A command for when the last attempt failed, was lost or missed."""


DEFAULTS = Options()


class _Kind(NamedTuple):
    """How the value of an option is read and shown."""

    allowed: str
    parse: Callable[[str], Any]
    show: Callable[[Any], str] = str


def _line(text: str) -> str:
    if "\0" in text:
        raise ValueError
    return text


def _one_of(*names: str) -> _Kind:
    def parse(text: str) -> str:
        if text not in names:
            raise ValueError
        return text

    return _Kind(f"one of {', '.join(names)}", parse)


def _policy(allowed: str, plain: tuple[str, ...], counted: tuple[str, ...]) -> _Kind:
    def parse(text: str) -> Policy:
        name, number = _split(text)
        if name in plain and not number:
            return Policy(name)
        if name in counted:
            return Policy(name, _count(1, number, _POLICY_MAX))
        raise ValueError

    def show(policy: Policy) -> str:
        return f"{policy.name} {policy.number}" if policy.number else policy.name

    return _Kind(allowed, parse, show)


def _split(text: str) -> tuple[str, str]:
    """The first word of TEXT, and what follows it."""
    word, *rest = text.split(None, 1)
    return word, rest[0].strip() if rest else ""


def _count(least: int, text: str, most: int = _COUNT_MAX) -> int:
    if not re.fullmatch(r"[0-9]{1,7}", text) or not least <= int(text) <= most:
        raise ValueError
    return int(text)


def parse_size(text: str) -> int:
    """Bytes, as `65536`, `64K` or `1M`; ValueError, without a sentence, for anything else."""
    match = re.fullmatch(r"([0-9]{1,12})([KMG]?)", text.upper())
    if not match:
        raise ValueError
    return int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2]]


def _show_size(size: int) -> str:
    for suffix, shift in (("G", 30), ("M", 20), ("K", 10)):
        if size and not size % (1 << shift):
            return f"{size >> shift}{suffix}"
    return str(size)


def _zone(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_+/-]{1,64}", text):
        raise ValueError
    try:
        ZoneInfo(text)
    except (OSError, LookupError):
        raise ValueError from None
    return text


def _absolute(text: str) -> str:
    if not text.startswith("/") or "\0" in text:
        raise ValueError
    return text


def _octal(text: str) -> int:
    if not re.fullmatch(r"0?[0-7]{1,3}", text):
        raise ValueError
    return int(text, 8)


def _nice(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,2}", text) or int(text) > 19:
        raise ValueError
    return int(text)


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or "\0" in value:
        raise ValueError
    return name, value


LIMITS = ("as", "core", "cpu", "data", "fsize", "memlock", "nofile", "nproc", "stack")
"""Resources of setrlimit(2), as prlimit(1) names them."""


def _limit(text: str) -> tuple[str, str]:
    name, value = _split(text)
    if name not in LIMITS or not re.fullmatch(r"[0-9]{1,18}|unlimited", value):
        raise ValueError
    return name, value


_TEXT = _Kind("a line of text", _line)
_DURATION = _Kind("a duration such as 90s, 5m or 1h30m", parse_duration, format_duration)
_TIMEOUT = _Kind(
    "none, or a duration such as 90s, 5m or 1h30m",
    lambda text: 0.0 if text == "none" else parse_duration(text),
    lambda seconds: format_duration(seconds) if seconds else "none",
)
_BYTES = _Kind("a number of bytes such as 65536, 64K or 1M", parse_size, _show_size)

# Each option: its key in the file, its attribute in Options, its kind.
_TABLE: dict[str, tuple[str, _Kind]] = {
    "description": ("description", _TEXT),
    "timezone": ("timezone", _Kind("an IANA time zone such as Europe/Berlin", _zone)),
    "dst": ("dst", _one_of("vixie", "skip", "utc")),
    "catchup": (
        "catchup",
        _policy(f"none, last or all N, with N up to {_POLICY_MAX}", ("none", "last"), ("all",)),
    ),
    "deadline": ("deadline", _DURATION),
    "jitter": ("jitter", _DURATION),
    "overlap": (
        "overlap",
        _policy(
            f"skip, queue N, replace or allow N, with N up to {_POLICY_MAX}",
            ("skip", "replace"),
            ("queue", "allow"),
        ),
    ),
    "timeout": ("timeout", _TIMEOUT),
    "grace": ("grace", _DURATION),
    "retries": ("retries", _Kind(f"a number from 0 to {_COUNT_MAX}", lambda text: _count(0, text))),
    "retry-delay": ("retry_delay", _DURATION),
    "dir": ("directory", _Kind("an absolute path", _absolute)),
    "shell": ("shell", _Kind("an absolute path", _absolute)),
    "umask": ("umask", _Kind("three octal digits", _octal, lambda mask: f"{mask:03o}")),
    "nice": ("nice", _Kind("a number from 0 to 19", _nice)),
    "keep-log": ("keep_log", _BYTES),
    "keep-runs": ("keep_runs", _Kind(f"a number from 1 to {_COUNT_MAX}", lambda text: _count(1, text))),
    "max-output": ("max_output", _BYTES),
    "on-failure": ("on_failure", _Kind("a command of one line", _line)),
}

# Options that hold several values by name: what a line gives is a pair.
_MAPS: dict[str, tuple[str, _Kind]] = {
    "env": ("env", _Kind("NAME=VALUE, or a NAME to unset", _variable, "=".join)),
    "limit": ("limit", _Kind(f"a NAME of {', '.join(LIMITS)} and a number", _limit, " ".join)),
}

KEYS = (*_TABLE, *_MAPS)


def merge(options: Options, data: bytes) -> Options:
    """OPTIONS changed as a message to the `options` file says; JobError where any line is wrong.

    A key alone resets it, `default` alone resets all.  A message of several lines must end in a newline:
    one that was cut on its way would else set half a value.
    """
    text = decode(data, "options")
    if "\n" in text.strip() and not text.endswith("\n"):
        raise JobError(EINVAL, "options: several lines must end in a newline, and the last one does not")
    for line in text.split("\n"):
        if line.strip():
            options = _merge_line(options, line.strip())
    return options


def _merge_line(options: Options, line: str) -> Options:
    key, value = _split(line)
    if line == "default":
        return DEFAULTS
    if key in _MAPS:
        return _merge_pair(options, key, value)
    if key not in _TABLE:
        raise JobError(EINVAL, f"options: there is no option {shorten(key)}: allowed are {', '.join(KEYS)}")
    attribute, kind = _TABLE[key]
    if not value:
        return options._replace(**{attribute: getattr(DEFAULTS, attribute)})
    try:
        return options._replace(**{attribute: kind.parse(value)})
    except ValueError:
        raise JobError(EINVAL, f"option {key}: {shorten(value)} is not {kind.allowed}") from None


def _merge_pair(options: Options, key: str, value: str) -> Options:
    attribute, kind = _MAPS[key]
    pairs = dict(getattr(options, attribute))
    if not value:
        pairs = {}
    elif re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        pairs.pop(value, None)
    else:
        try:
            name, setting = kind.parse(value)
        except ValueError:
            raise JobError(EINVAL, f"option {key}: {shorten(value)} is not {kind.allowed}") from None
        pairs[name] = setting
    changes: dict[str, Any] = {attribute: MappingProxyType(pairs)}
    return options._replace(**changes)


def message(values: Mapping[str, object]) -> str:
    """The message to `options` that sets VALUES, by the keys of the file; JobError where it can't say that.

    A value of None resets its key; those of `env` and `limit` are mappings.
    """
    lines = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            between = "=" if key == "env" else " "
            lines += [f"{key} {name}{between}{setting}" for name, setting in value.items()]
        else:
            lines.append(key if value is None else f"{key} {value}")
    for line in lines:
        if "\n" in line:
            raise JobError(EINVAL, f"options: {shorten(line)} is more than one line")
    return "".join(f"{line}\n" for line in lines)


def kept(options: Options) -> str:
    """What `merge` makes OPTIONS of again: the lines that differ from the defaults.

    JobError where that is too much: `env` lines merge without end.
    """
    text = show(options, defaults=False)
    if (size := len(text.encode())) > MAX_OPTIONS:
        raise JobError(EINVAL, f"options: they would be {size} bytes, and {MAX_OPTIONS} are allowed in all")
    return text


def show(options: Options, *, defaults: bool = True) -> str:
    """A `key value` line for each option; without DEFAULTS only for those that differ."""
    lines = []
    for key, (attribute, kind) in _TABLE.items():
        value, default = getattr(options, attribute), getattr(DEFAULTS, attribute)
        if defaults or value != default:
            # A default without words of its own is the key alone, as where it is written.
            lines.append(f"{key} {kind.show(value)}".rstrip() + "\n")
    for key, (attribute, kind) in _MAPS.items():
        lines += [f"{key} {kind.show(pair)}\n" for pair in sorted(getattr(options, attribute).items())]
    return "".join(lines)
