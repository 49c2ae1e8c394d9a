"""The tree as one user sees it, and what that user failed to change."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from jobd.jobs.errors import JobError
from jobd.jobs.texts import attributes, stamp
from jobd.ninep.errors import NinepError

if TYPE_CHECKING:
    from jobd.access import User
    from jobd.jobs.actor import Actor
    from jobd.jobs.job import Job
    from jobd.tree.root import Tree

_log = Logger()

REMEMBERED = 16
"""Failed changes that `/error` keeps for a user."""


class Failures:
    """A user's failed changes, the newest last: what `/error` shows."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque(maxlen=REMEMBERED)
        self.count = 0
        """How many there ever were."""
        self.changed = 0
        """When the newest came, in nanoseconds since 1970; 0 before the first."""

    def add(self, now_ns: int, path: str, sentence: str) -> None:
        """The change of PATH that SENTENCE tells of failed now."""
        self._lines.append(stamp(now_ns) + one_line(f"{path}: {sentence}").encode() + b"\n")
        self.count += 1
        self.changed = now_ns

    def text(self) -> bytes:
        """A line for each."""
        return b"".join(self._lines)


def one_line(text: str) -> str:
    """TEXT with question marks for what a client may put into a name and no line can show."""
    return "".join(character if character.isprintable() else "?" for character in text)


class View(NamedTuple):
    """The tree as one attached user sees it."""

    tree: Tree
    user: User
    actor: Actor
    """The user and the peer: in words for `/events`, and with the user's rights."""
    failures: Failures
    """Shared by all connections of the user."""
    local_uid: int | None = None
    """What the user's number is on the client's machine, where that may be another one."""

    def uid_of(self, owner: str) -> int:
        """The number to show for OWNER.

        A kernel compares it with its own users: what is the user's own must be so there as well.
        """
        if self.local_uid is not None and owner == self.user.name:
            return self.local_uid
        return self.tree.accounts.uid_of(owner)

    def refuse(self, path: str, error: JobError) -> NinepError:
        """Remember that a change of PATH failed, and give what the client is told."""
        sentence = " ".join(str(error).split())
        refused = attributes([("path", one_line(path)), ("why", one_line(sentence)), ("by", self.actor)])
        _log.info("refused {change}", change=refused)
        self.failures.add(self.tree.clock.now_ns(), path, sentence)
        return NinepError(error.errno, sentence)

    def create(self, name: str, schedule: str, command: str) -> Deferred[Job]:
        """Have a new job, as `JobTable.create` makes it."""
        tree = self.tree
        owner = tree.access.owner_of_new(self.user)
        group = tree.accounts.group_of(owner)
        most = None if self.user.uid == 0 else tree.max_jobs
        return tree.table.create(
            name, schedule, command, owner=owner.name, group=group, actor=self.actor, most=most
        )

    def change(self, path: str, change: Callable[[], Any], answer: Any = None) -> Any:
        """Make a change of PATH, and answer ANSWER when it is made; what it returns if that is None."""
        try:
            self.tree.access.check_change(self.user)
            result = change()
        except JobError as error:
            raise self.refuse(path, error) from None
        if not isinstance(result, Deferred):
            return result if answer is None else answer

        def failed(failure: Failure) -> NoReturn:
            if isinstance(failure.value, JobError):
                raise self.refuse(path, failure.value)
            failure.raiseException()

        def done(value: object) -> object:
            return value if answer is None else answer

        return result.addCallbacks(done, failed)
