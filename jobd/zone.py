"""The time zone of this machine, by name."""

from __future__ import annotations

import time
from datetime import datetime
from zoneinfo import ZoneInfo

import tzlocal

HALF_A_YEAR = 182 * 86400


class ZoneError(ValueError):
    """The local time zone has no name that schedules could be read by."""

    def __init__(self) -> None:
        super().__init__("the local time zone has no IANA name: set TZ to one, such as TZ=Europe/Berlin")


def local_zone() -> str:
    """The IANA name of this machine's time zone; `ZoneError` where it can't be found out."""
    try:
        name = tzlocal.get_localzone_name()
        zone = ZoneInfo(name)
    except (LookupError, ValueError, TypeError, OSError):
        raise ZoneError from None
    now = time.time()
    for moment in (now, now + HALF_A_YEAR):
        offset = datetime.fromtimestamp(moment, zone).utcoffset()
        if offset is None or offset.total_seconds() != time.localtime(moment).tm_gmtoff:
            raise ZoneError
    return name
