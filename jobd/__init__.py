"""jobd: cron as a 9P file system.

What a program that embeds jobd needs can be had from here, `from jobd import JobService`; each is loaded when
it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobd.access import Access, User
    from jobd.facade import JobInfo, Jobs, RunInfo
    from jobd.jobs.callables import Call
    from jobd.jobs.errors import JobError
    from jobd.schedule import Schedule, ScheduleError
    from jobd.service import JobService
    from jobd.zone import ZoneError

__version__ = "1.0.0"
__all__ = [
    "Access",
    "Call",
    "JobError",
    "JobInfo",
    "JobService",
    "Jobs",
    "RunInfo",
    "Schedule",
    "ScheduleError",
    "User",
    "ZoneError",
]

_HOMES = {
    "Access": "jobd.access",
    "Call": "jobd.jobs.callables",
    "JobError": "jobd.jobs.errors",
    "JobInfo": "jobd.facade",
    "JobService": "jobd.service",
    "Jobs": "jobd.facade",
    "RunInfo": "jobd.facade",
    "Schedule": "jobd.schedule",
    "ScheduleError": "jobd.schedule",
    "User": "jobd.access",
    "ZoneError": "jobd.zone",
}
"""The module of each; jobctl needs none of them, and starts the sooner."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
