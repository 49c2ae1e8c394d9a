"""Users and groups of this machine, by name and by number."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from jobd.jobs.errors import JobError

NOBODY = 65534
"""The uid and gid of whoever is nobody here: the kernel's overflow ids."""
NO_NUMBER = 0xFFFFFFFF
"""(uid_t)-1, which no user and no group has: the kernel takes it for "leave it as it is"."""
FRESH = 60.0
"""Seconds for which `Accounts` takes names and numbers as they were."""

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class User(NamedTuple):
    """A user of this machine."""

    uid: int
    gid: int
    name: str
    groups: frozenset[int]
    """All groups the user is in, the first one included."""

    @classmethod
    def by_uid(cls, uid: int) -> User:
        """The user with that number. One without an account has the number as name, and no groups."""
        try:
            return cls._of(pwd.getpwuid(uid))
        except KeyError:
            return cls(uid, NOBODY, str(uid), frozenset())

    @classmethod
    def by_name(cls, name: str) -> User | None:
        """The user of that name; None where there is no such account."""
        try:
            return cls._of(pwd.getpwnam(name))
        except (KeyError, ValueError, UnicodeEncodeError):
            return cls(NOBODY, NOBODY, name, frozenset()) if name == "nobody" else None

    @classmethod
    def _of(cls, account: pwd.struct_passwd) -> User:
        groups = frozenset(os.getgrouplist(account.pw_name, account.pw_gid))
        return cls(account.pw_uid, account.pw_gid, account.pw_name, groups)


class Accounts:
    """Names and numbers of users and groups, looked up anew once a minute.

    What has no account has its number as name, and a name that is neither has the number of nobody.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        """NOW gives seconds that only grow."""
        self._now = now
        self._since = now()
        self._uids: dict[str, int | None] = {}
        self._gids: dict[str, int | None] = {}
        self._groups: dict[int, str] = {}

    def find_uid(self, name: str) -> int | None:
        """The number of the account NAME; None where there is no such account."""
        return self._look_up(self._uids, name, lambda: _found(lambda: pwd.getpwnam(name).pw_uid))

    def find_gid(self, name: str) -> int | None:
        """The number of the group NAME, which may be one that no group has a name for; else None."""
        return self._look_up(self._gids, name, lambda: _found(lambda: grp.getgrnam(name).gr_gid, name))

    def uid_of(self, name: str) -> int:
        """The number to show for the user NAME."""
        return _shown(self.find_uid(name), name)

    def gid_of(self, name: str) -> int:
        """The number to show for the group NAME."""
        return _shown(self.find_gid(name), name)

    def group_of(self, user: User) -> str:
        """The name of the first group of USER."""
        return self._look_up(self._groups, user.gid, lambda: _group_name(user.gid))

    def user_name(self, user: str | int) -> str:
        """The name of the account that USER, a name or a number, means; `JobError` where there is none."""
        try:
            return (pwd.getpwuid(user) if isinstance(user, int) else pwd.getpwnam(user)).pw_name
        except (KeyError, ValueError):
            raise JobError(errno.EINVAL, f"there is no user {user} on this machine") from None

    def group_name(self, group: str | int) -> str:
        """The name of the group that GROUP, a name or a number, means; `JobError` where there is none."""
        try:
            return (grp.getgrgid(group) if isinstance(group, int) else grp.getgrnam(group)).gr_name
        except (KeyError, ValueError):
            raise JobError(errno.EINVAL, f"there is no group {group} on this machine") from None

    def _look_up(self, known: dict[_Key, _Value], key: _Key, ask: Callable[[], _Value]) -> _Value:
        if self._now() - self._since > FRESH:
            self._since = self._now()
            for cache in (self._uids, self._gids, self._groups):
                cache.clear()
        if key not in known:
            known[key] = ask()
        return known[key]


def _found(ask: Callable[[], int], name: str = "") -> int | None:
    try:
        return ask()
    except (KeyError, ValueError):
        return _digits(name)


def _shown(number: int | None, name: str) -> int:
    if number is None:
        number = _digits(name)
    return NOBODY if number is None else number


def _digits(name: str) -> int | None:
    """The number that NAME is, if it is one that a user or group can have."""
    number = int(name) if name.isascii() and name.isdigit() and len(name) <= 10 else NO_NUMBER
    return number if number < NO_NUMBER else None


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
