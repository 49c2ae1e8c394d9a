"""Names for jobs that had none: made of commands and file names."""

from __future__ import annotations

import re

_LONGEST = 60
"""Characters: two such names and a number fit into the 128 that a job may have."""
_SEPARATORS = re.compile(r"&&|\|\||[;|&\n(){}]")
_SKIPPED = frozenset(
    ("cd", "test", "[", "[[", ".", "source", "export", "set", "umask", "sleep", "if", "then", "!")
)
"""Words that begin what only leads to the command."""
_WRAPPERS = frozenset(
    ("env", "exec", "nice", "ionice", "nohup", "sudo", "chronic", "command", "time", "then", "if")
)
"""Words before a command that are not it."""
_TAKING = frozenset(("timeout", "flock", "setlock"))
"""Such words that have an argument of their own."""
_RUNNERS = frozenset(
    ("sh", "bash", "dash", "zsh", "python", "python3", "perl", "ruby", "php", "node", "run-parts", "make")
)
"""Programs whose argument says more than they do."""
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*")


def name_for(command: str) -> str:
    """A name that a job may have, after what COMMAND runs: `backup.sh`, `cron.daily`; else `job`."""
    for part in _SEPARATORS.split(command):
        words = _unwrapped([word.strip("\"'") for word in part.split()])
        if not words or words[0] in _SKIPPED:
            continue
        program = words[0].rstrip("/").rpartition("/")[2]
        if program in _RUNNERS:
            arguments = [
                word for word in words[1:] if not word.startswith("-") and re.match(r"[\w./~-]+$", word)
            ]
            program = arguments[0].rstrip("/").rpartition("/")[2] if arguments else program
        if (name := sanitised(program)) != "job":
            return name
    return "job"


def _unwrapped(words: list[str]) -> list[str]:
    """WORDS from the program on that is meant: without assignments, `nice -n 10` and the like."""
    while words:
        word = words[0].rpartition("/")[2]
        if word in _TAKING:
            arguments = [index for index, each in enumerate(words) if index and not each.startswith("-")]
            del words[: arguments[0] + 1 if arguments else len(words)]
        elif word in _WRAPPERS or word.isdigit() or word.startswith("-") or _ASSIGNMENT.fullmatch(words[0]):
            del words[0]
        else:
            break
    return words


def sanitised(text: str) -> str:
    """TEXT as the name of a job; `job` where nothing is left of it."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text)[:_LONGEST].strip(".-_") or "job"
