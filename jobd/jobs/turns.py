"""Changes of one thing, one after another."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

_P = ParamSpec("_P")
_T = TypeVar("_T")


class _Turn:
    """One change."""

    __slots__ = ("answer", "make", "waits")

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make
        self.answer: Deferred[Any] = Deferred()
        self.waits = False
        """Whether it has begun and is not done."""


class Turns:
    """Has the changes of one key wait for each other, in the order in which they came."""

    def __init__(self) -> None:
        self._lines: dict[Hashable, deque[_Turn]] = {}
        """Of each key the change that is being made, and those that wait for it."""

    def take(
        self, key: Hashable, change: Callable[_P, Awaitable[_T]], *args: _P.args, **kwargs: _P.kwargs
    ) -> Deferred[_T]:
        """Call CHANGE when the earlier ones of KEY are done: at once where there are none.

        Who cancels the answer does not cancel the change, which may be on disk already.
        """
        turn = _Turn(lambda: change(*args, **kwargs))
        line = self._lines.get(key)
        if line is not None:
            line.append(turn)
        else:
            self._lines[key] = deque([turn])
            self._go_on(key)
        return turn.answer

    def _go_on(self, key: Hashable) -> None:
        """Make the changes of KEY up to the first that has to wait."""
        line = self._lines[key]
        while line:
            turn = line[0]
            maybeDeferred(turn.make).addBoth(self._done, key, turn)
            if line and line[0] is turn:
                turn.waits = True
                return
        del self._lines[key]

    def _done(self, result: Any, key: Hashable, turn: _Turn) -> None:
        """Answer TURN; the next may begin only then."""
        if isinstance(result, Failure):
            turn.answer.errback(result)
        else:
            turn.answer.callback(result)
        self._lines[key].popleft()
        if turn.waits:
            self._go_on(key)
