"""The spans of time that limits are counted in: UTC minutes, hours, days, weeks from Monday on, months.

Rules: pure; a window is found from Unix time alone, so that whoever asks at the same moment finds the same one, and a
clock that is set back finds the window it was in before, with its count.
"""

from __future__ import annotations

import calendar
import time
from typing import Final, Literal, NamedTuple

import msgspec

#: ``level``: no window at all; what is taken is given back, as streams are.
Period = Literal["minute", "hour", "day", "week", "month", "level"]

_SECONDS: Final[dict[Period, int]] = {"minute": 60, "hour": 3600, "day": 86400, "week": 7 * 86400}
#: 1 January 1970 was a Thursday.
_FIRST_MONDAY: Final = 4 * 86400


class Window(NamedTuple):
    """From ``start`` to before ``end``, in Unix seconds; a level's is from 0 to for ever (``end`` 0)."""

    start: int
    end: int


class Clock(msgspec.Struct, frozen=True):
    """The time, twice: ``now`` in monotonic seconds for how long things last, ``wall`` in Unix seconds for windows."""

    now: float
    wall: float


def window(period: Period, wall: float) -> Window:
    """Find the window of a period that holds a moment in Unix time."""
    if period == "level":
        return Window(0, 0)
    if period == "month":
        year, month = time.gmtime(wall)[:2]
        start = calendar.timegm((year, month, 1, 0, 0, 0))
        return Window(start, start + calendar.monthrange(year, month)[1] * 86400)
    length = _SECONDS[period]
    first = _FIRST_MONDAY if period == "week" else 0
    start = first + (int(wall) - first) // length * length
    return Window(start, start + length)
