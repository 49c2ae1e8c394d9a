"""Turns: changes of one thing, one after another."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from jobd.jobs.turns import Turns


class TurnsTest(SynchronousTestCase):
    """Changes that note when they are made."""

    def setUp(self) -> None:
        self.turns = Turns()
        self.made: list[str] = []

    def change(self, name: str, until: Deferred[None] | None = None) -> Deferred[str]:
        """A change that is done when UNTIL has fired."""
        self.made.append(name)
        return (until or succeed(None)).addCallback(lambda _: name)

    def test_one_after_another(self) -> None:
        """A change begins when the one before it is answered; one of another key doesn't wait."""
        until: Deferred[None] = Deferred()
        first = self.turns.take("a", self.change, "first", until)
        second = self.turns.take("a", self.change, "second")
        self.assertEqual(self.successResultOf(self.turns.take("b", self.change, "other")), "other")
        self.assertEqual(self.made, ["first", "other"])
        first.addCallback(lambda _: self.assertEqual(self.made, ["first", "other"]))
        until.callback(None)
        self.successResultOf(first)
        self.assertEqual(self.successResultOf(second), "second")
        self.assertEqual(self.made, ["first", "other", "second"])

    def test_failures(self) -> None:
        """A change that is refused, at once or later, is answered so, and the next has its turn."""

        def refuse() -> Deferred[None]:
            raise ZeroDivisionError

        until: Deferred[None] = Deferred()
        late = self.turns.take("a", self.change, "late", until)
        at_once = self.turns.take("a", refuse)
        after = self.turns.take("a", self.change, "after")
        until.errback(ZeroDivisionError())
        self.failureResultOf(late, ZeroDivisionError)
        self.failureResultOf(at_once, ZeroDivisionError)
        self.successResultOf(after)

    def test_asked_within_an_answer(self) -> None:
        """A change that is asked for as another is answered has its turn after it."""
        for until in (None, Deferred[None]()):
            nested: list[Deferred[str]] = []
            answer = self.turns.take("a", self.change, "one", until)
            answer.addCallback(
                lambda _, nested=nested: nested.append(self.turns.take("a", self.change, "two"))
            )
            if until is not None:
                until.callback(None)
            self.successResultOf(answer)
            self.successResultOf(nested[0])

    def test_very_many(self) -> None:
        """However many wait, all have their turn, in the order in which they came."""
        until: Deferred[None] = Deferred()
        self.turns.take("a", self.change, "first", until)
        names = [str(number) for number in range(5000)]
        answers = [self.turns.take("a", self.change, name) for name in names]
        until.callback(None)
        self.assertEqual([self.successResultOf(answer) for answer in answers], names)
        self.assertEqual(self.made, ["first", *names])
