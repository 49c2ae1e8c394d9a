"""Changes of one thing, one after another."""

from __future__ import annotations

from collections.abc import Coroutine, Hashable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredLock

_T = TypeVar("_T")


class Turns:
    """Has the changes of one key wait for each other, in the order in which they came."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, DeferredLock] = {}

    def take(self, key: Hashable, change: Coroutine[Any, Any, _T]) -> Deferred[_T]:
        """Make CHANGE when the earlier ones of KEY are done: at once where there are none.

        Who cancels the answer does not cancel the change, which may be on disk already.
        """
        answer: Deferred[_T] = Deferred()
        Deferred.fromCoroutine(self._in_turn(key, change, answer))
        return answer

    async def _in_turn(self, key: Hashable, change: Coroutine[Any, Any, _T], answer: Deferred[_T]) -> None:
        lock = self._locks.setdefault(key, DeferredLock())
        await lock.acquire()
        try:
            result = await change
        except Exception:
            answer.errback()
        else:
            answer.callback(result)
        # Now that this one is answered, the next may begin.
        lock.release()
        if not lock.locked and not lock.waiting:
            self._locks.pop(key, None)
