"""Schedules: text in, instants out.  Pure: no clock is read here, and nothing of the rest of jobd is known.

Each module knows only those above it:

    errors        the one exception
    bits          sets of small numbers
    durations     `1h30m` <-> seconds
    fields        the grammar of one field
    expression    a whole expression, expanded to sets of numbers
    evaluator     expression -> wall-clock times, on a calendar without zones
    reference     the same by croniter: slow, for the tests to compare with
    zones         time zones as spans of constant offset
    timetable     wall-clock times -> instants: the rules for clock changes
    schedule      what users see: `Schedule.parse`, `Schedule.next`; `forget_zones`
"""

from jobd.schedule.errors import ScheduleError
from jobd.schedule.schedule import Schedule, forget_zones

__all__ = ["Schedule", "ScheduleError", "forget_zones"]
