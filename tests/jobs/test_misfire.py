"""What becomes of missed instants."""

from __future__ import annotations

import bisect
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobd.jobs.misfire import EXACT, Gap, Plan, plan
from jobd.jobs.options import Policy

POLICIES = st.one_of(
    st.just(Policy("none")), st.just(Policy("last")), st.builds(Policy, st.just("all"), st.integers(1, 20))
)


def asked(instants: list[int]) -> Callable[[int], int | None]:
    """The next of INSTANTS, as a schedule tells it."""

    def next_instant(after: int) -> int | None:
        index = bisect.bisect_right(instants, after)
        return instants[index] if index < len(instants) else None

    return next_instant


def brute_force(instants: list[int], after: int, until: int, catchup: Policy, deadline: float) -> Plan:
    """The plan, by looking at every instant."""
    missed = [instant for instant in instants if after < instant <= until]
    wanted = {"none": 0, "last": 1, "all": catchup.number}[catchup.name]
    run = [instant for instant in missed[len(missed) - wanted if wanted < len(missed) else 0 :] if wanted]
    run = [instant for instant in run if until - instant <= deadline]
    rest = missed[: len(missed) - len(run)]
    return Plan(tuple(run), Gap(rest[0], rest[-1], len(rest)) if rest else None)


class PlanTest(SynchronousTestCase):
    """`misfire.plan`."""

    @settings(deadline=None, max_examples=300)
    @given(
        st.lists(st.integers(0, 2000), unique=True, max_size=60).map(sorted),
        st.integers(0, 2000),
        st.integers(0, 2000),
        POLICIES,
        st.one_of(st.integers(0, 2000), st.floats(0, 2000)),
    )
    def test_brute_force(
        self, instants: list[int], after: int, length: int, catchup: Policy, deadline: float
    ) -> None:
        """It is what looking at every instant gives."""
        until = after + length
        self.assertEqual(
            plan(asked(instants), after, until, catchup, deadline),
            brute_force(instants, after, until, catchup, deadline),
        )

    def test_count(self) -> None:
        """Missed instants are counted exactly up to 10,000; first and last are exact beyond."""

        def every_minute(after: int) -> int:
            return after + 60 - after % 60

        for count, counted in ((9_999, 9_999), (10_000, 10_000), (10_001, EXACT), (5_000_000, EXACT)):
            found = plan(every_minute, 0, 60 * count + 30, Policy("none"), 3600.0)
            self.assertEqual(found.missed, Gap(60, 60 * count, counted))

    def test_few_questions(self) -> None:
        """However dense the instants, and however long ago, what is asked of the schedule stays little."""
        questions = 0

        def next_instant(after: int) -> int | None:
            nonlocal questions
            questions += 1
            return after + 1 if after < 500_000_000 else None

        found = plan(next_instant, 0, 2_000_000_000, Policy("all", 100), 1e10)
        self.assertEqual(found.run, tuple(range(499_999_901, 500_000_001)))
        self.assertEqual(found.missed, Gap(1, 499_999_900, EXACT))
        self.assertLess(questions, EXACT + 100 * 80)
