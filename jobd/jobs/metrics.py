"""`/metrics`: how the daemon stands, in the text format of Prometheus."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobd.jobs.history import History
    from jobd.jobs.journal import Journal
    from jobd.jobs.runner import Runner
    from jobd.jobs.store import Store
    from jobd.jobs.table import JobTable

NANO = 1_000_000_000


class Histogram:
    """Counts of values by size."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """BOUNDS are the largest values of all buckets but the last, which has none."""
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count VALUE."""
        self._counts[bisect.bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self, name: str, meaning: str) -> list[str]:
        """The histogram NAME in the text format."""
        total, lines = 0, [f"# HELP {name} {meaning}", f"# TYPE {name} histogram"]
        for bound, count in zip((*self._bounds, "+Inf"), self._counts, strict=True):
            total += count
            lines.append(f'{name}_bucket{{le="{bound}"}} {total}')
        return [*lines, f"{name}_sum {self._sum:.6f}", f"{name}_count {total}"]


def metrics_text(table: JobTable, runner: Runner, history: History, store: Store, journal: Journal) -> str:
    """All metrics, each with what it means and its type."""
    jobs = list(table.after(0))
    started = sum(job.started for job in jobs)
    lines = [
        *metric(
            "jobd_jobs",
            "gauge",
            "Jobs by state.",
            [('{state="started"}', started), ('{state="stopped"}', len(jobs) - started)],
        ),
        *metric("jobd_paused", "gauge", "Whether nothing fires.", [("", int(table.paused))]),
        *metric("jobd_runs_in_progress", "gauge", "Runs that run now.", [("", len(runner.running))]),
        *metric(
            "jobd_runs_waiting",
            "gauge",
            "Runs that wait for a place among --max-runs.",
            [("", runner.waiting)],
        ),
        *metric(
            "jobd_runs_queued",
            "gauge",
            "Runs that wait for others of their job to end.",
            [("", sum(len(job.queue) for job in jobs))],
        ),
        *metric(
            "jobd_runs_total",
            "counter",
            "Runs that ended since the start, by outcome.",
            [(f'{{outcome="{outcome}"}}', count) for outcome, count in history.ended.items()],
        ),
        *metric(
            "jobd_missed_instants_total",
            "counter",
            "Instants since the start that nobody was there for and that are not made up for.",
            [("", history.missed_instants)],
        ),
        *history.latency.lines(
            "jobd_fire_latency_seconds", "From the instant of a run to the start of its first process."
        ),
        *history.duration.lines(
            "jobd_run_duration_seconds", "From the start of a run's first process to its last outcome."
        ),
        *metric(
            "jobd_store_commits_total",
            "counter",
            "Transactions made durable since the start.",
            [("", store.commits)],
        ),
        *metric(
            "jobd_output_dropped_bytes_total",
            "counter",
            "Bytes of output since the start that a full or failing disk did not take.",
            [("", journal.dropped)],
        ),
        *metric(
            "jobd_job_last_success_timestamp_seconds",
            "gauge",
            "When a run of the job last ended well.",
            [(f'{{job="{job.name}"}}', f"{job.last_success / NANO:.3f}") for job in jobs if job.last_success],
        ),
    ]
    return "".join(f"{line}\n" for line in lines)


def metric(name: str, kind: str, meaning: str, samples: Iterable[tuple[str, object]]) -> list[str]:
    """The metric NAME in the text format; a sample is its labels, in braces, and its value."""
    head = [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
    return head + [f"{name}{labels} {value}" for labels, value in samples]
