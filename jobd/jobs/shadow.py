"""Whether an account may still be used, by shadow(5)."""

from __future__ import annotations

SHADOW = "/etc/shadow"
_NO_PASSWORD = frozenset({"", "*"})


def why_unusable(name: str, today: int, path: str = SHADOW) -> str | None:
    """Why nothing may run as the user NAME any more, or None where nothing says so.

    TODAY is days since 1970.  Whose password was locked (`passwd -l`), or whose account has expired, was
    sent away.  Who never had a password (`!`, `*` or `!*`, as most users of services) was not.  An account
    that is not in PATH, or of which we may not know, is another's affair.
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            entry = next((line.split(":") for line in file if line.startswith(name + ":")), None)
    except OSError:
        return None
    if entry is None or len(entry) < 9:
        return None
    password, expires = entry[1], entry[7]
    if password.startswith("!") and password.lstrip("!") not in _NO_PASSWORD:
        return f"the account of {name} is locked"
    if expires.isdigit() and today >= int(expires):
        return f"the account of {name} has expired"
    return None
