"""What schedules cost: to parse, to find the next time, and to load for 100,000 jobs; beside croniter.

    python benchmarks/schedules.py [--rounds N] [--profile]

Rounds alternate, and the best of each counts, since a shared machine only ever makes things slower.  With
`--profile`, where the time of a load goes when croniter finds the times.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time
import tracemalloc
from collections.abc import Callable

from jobd.schedule import Schedule
from jobd.schedule.evaluator import CalendarEvaluator, Evaluator, days_of_month
from jobd.schedule.expression import Expression, parse_expression
from jobd.schedule.fields import parse_field
from jobd.schedule.reference import CroniterEvaluator
from jobd.schedule.zones import zone_named

NOW = 1_790_000_000
JOBS, DISTINCT = 100_000, 10_000
ZONES = ("UTC", "America/New_York", "Europe/Berlin", "Asia/Tokyo", "Australia/Lord_Howe")

TEXTS = (
    "* * * * *",
    "*/5 * * * *",
    "30 2 * * *",
    "*/15 9-17 * * MON-FRI",
    "0 0 1 * *",
    "0 0 29 2 *",
    "0 0 13 * FRI",
    "0 0 * * FRI#2",
    "0 0 LW * *",
    "0 0 * 2 MON#5",
    "* * * * * * *",
)

MakeEvaluator = Callable[[Expression], Evaluator]
COUNTS: dict[MakeEvaluator, int] = {CalendarEvaluator: 2000, CroniterEvaluator: 50}
"""jobd's evaluator and croniter, and how often each does what is measured."""


def make_asker(evaluator: MakeEvaluator, text: str, zone: str) -> Callable[[], None]:
    """What finds one more instant of a schedule each time that it is called."""
    schedule = Schedule.parse(text, zone, evaluator=evaluator)
    instant = NOW

    def ask() -> None:
        nonlocal instant
        instant = schedule.next_epoch(instant) or NOW

    return ask


def microseconds(action: Callable[[], object], count: int, rounds: int) -> float:
    """The best time of `action`."""
    best = float("inf")
    for _ in range(rounds):
        begin = time.perf_counter()
        for _ in range(count):
            action()
        best = min(best, time.perf_counter() - begin)
    return best / count * 1e6


def costs(evaluator: MakeEvaluator, text: str, rounds: int) -> list[float]:
    """Microseconds to make an evaluator from a text, and for a next time in UTC and in New York."""
    count = COUNTS[evaluator]
    return [
        microseconds(lambda: evaluator(parse_expression(text)), count, rounds),
        microseconds(make_asker(evaluator, text, "UTC"), count, rounds),
        microseconds(make_asker(evaluator, text, "America/New_York"), count, rounds),
    ]


def print_costs(rounds: int) -> None:
    """A row for each text, jobd's figures first."""
    columns = "made", "UTC", "New York", "croniter", "UTC", "New York", "ratio"
    print("{:24}".format("microseconds"), *(f"{column:>10}" for column in columns))
    for text in TEXTS:
        own, peer = (costs(evaluator, text, rounds) for evaluator in COUNTS)
        figures = [*own, *peer, peer[2] / own[2]]
        print(f"{text:24}", *(f"{figure:10.1f}" for figure in figures))


def job_texts() -> list[str]:
    """Schedules such as people have: weekly, monthly, yearly, and every some minutes of office hours."""
    texts = []
    for n in range(DISTINCT):
        minute, hour, day = n % 60, n // 60 % 24, n // 1440
        texts += (
            f"{minute} {hour} * * {day % 7}",
            f"{minute} {hour} {1 + day} * *",
            f"{minute} {hour} 1 {1 + day} *",
            f"{minute}/{1 + hour} {day}-20 * * MON-FRI",
        )[n % 4 : n % 4 + 1]
    return texts


def load(evaluator: MakeEvaluator) -> tuple[float, float, list[Schedule]]:
    """What a start does: seconds to parse each job's schedule, seconds to find each job's first time."""
    for remembered in (parse_field, days_of_month, zone_named):
        remembered.cache_clear()
    texts = job_texts()
    begin = time.perf_counter()
    schedules = [
        Schedule.parse(texts[n % DISTINCT], ZONES[n % DISTINCT % len(ZONES)], evaluator=evaluator)
        for n in range(JOBS)
    ]
    parsed = time.perf_counter()
    for schedule in schedules:
        schedule.next_epoch(NOW)
    return parsed - begin, time.perf_counter() - parsed, schedules


def print_loads(rounds: int) -> None:
    """Seconds and memory of a load."""
    print(f"\n{JOBS:,} jobs, {DISTINCT:,} distinct schedules, {len(ZONES)} zones")
    together = []
    for name, evaluator in zip(("jobd", "croniter"), COUNTS, strict=True):
        # Each round lets go of its schedules, so that the next one begins with none.
        parse, first = min((load(evaluator)[:2] for _ in range(rounds)), key=sum)
        together.append(parse + first)
        print(f"{name:9} parse {parse:6.2f} s, first times {first:6.2f} s, together {parse + first:6.2f} s")
    print(f"ratio     {together[1] / together[0]:.0f}")
    tracemalloc.start()
    _, _, schedules = load(CalendarEvaluator)
    size = tracemalloc.get_traced_memory()[0] / 1e6
    print(f"memory    {size:.1f} MB for {len(set(map(id, schedules))):,} schedules and a list of {JOBS:,}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    if options.profile:
        profile = cProfile.Profile()
        profile.runcall(load, CroniterEvaluator)
        pstats.Stats(profile).sort_stats("tottime").print_stats(12)
        return
    print_costs(options.rounds)
    print_loads(options.rounds)


if __name__ == "__main__":
    main()
