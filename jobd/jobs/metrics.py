"""`/metrics`: how the daemon stands, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobd.jobs.runner import Runner
    from jobd.jobs.store import Store
    from jobd.jobs.table import JobTable

NANO = 1_000_000_000


def metrics_text(table: JobTable, runner: Runner, store: Store) -> str:
    """All metrics, each with what it means and its type."""
    jobs = list(table.after(0))
    started = sum(job.started for job in jobs)
    lines = [
        *_metric(
            "jobd_jobs",
            "gauge",
            "Jobs by state.",
            [('{state="started"}', started), ('{state="stopped"}', len(jobs) - started)],
        ),
        *_metric("jobd_paused", "gauge", "Whether nothing fires.", [("", int(table.paused))]),
        *_metric("jobd_runs_in_progress", "gauge", "Runs with a process.", [("", len(runner.running))]),
        *_metric(
            "jobd_runs_waiting",
            "gauge",
            "Runs that wait for a place among --max-runs.",
            [("", runner.waiting)],
        ),
        *_metric(
            "jobd_runs_total",
            "counter",
            "Runs that ended since the start, by outcome.",
            [(f'{{outcome="{outcome}"}}', count) for outcome, count in runner.ended.items()],
        ),
        *_metric(
            "jobd_store_commits_total",
            "counter",
            "Transactions made durable since the start.",
            [("", store.commits)],
        ),
        *_metric(
            "jobd_job_last_success_timestamp_seconds",
            "gauge",
            "When a run of the job last ended well.",
            [(f'{{job="{job.name}"}}', f"{job.last_success / NANO:.3f}") for job in jobs if job.last_success],
        ),
    ]
    return "".join(f"{line}\n" for line in lines)


def _metric(name: str, kind: str, meaning: str, samples: Iterable[tuple[str, object]]) -> list[str]:
    head = [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
    return head + [f"{name}{labels} {value}" for labels, value in samples]
