"""Windows are UTC, begin where people think they do, and are found again by a clock that was set back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sluicegate.limits.windows import Period, window

CASES: dict[str, tuple[Period, str, str, str]] = {
    "a minute": ("minute", "2026-03-01T12:34:59.9", "2026-03-01T12:34:00", "2026-03-01T12:35:00"),
    "a minute's first moment": ("minute", "2026-03-01T12:35:00", "2026-03-01T12:35:00", "2026-03-01T12:36:00"),
    "an hour": ("hour", "2026-03-01T12:34:56", "2026-03-01T12:00:00", "2026-03-01T13:00:00"),
    "a day": ("day", "2026-03-01T23:59:59", "2026-03-01T00:00:00", "2026-03-02T00:00:00"),
    "a week begins on Monday": ("week", "2026-03-01T23:59:59", "2026-02-23T00:00:00", "2026-03-02T00:00:00"),
    "a Monday": ("week", "2026-03-02T00:00:00", "2026-03-02T00:00:00", "2026-03-09T00:00:00"),
    "a short month": ("month", "2026-02-28T23:59:59", "2026-02-01T00:00:00", "2026-03-01T00:00:00"),
    "a leap year's February": ("month", "2028-02-29T12:00:00", "2028-02-01T00:00:00", "2028-03-01T00:00:00"),
    "December": ("month", "2026-12-31T23:59:59", "2026-12-01T00:00:00", "2027-01-01T00:00:00"),
}


def unix(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize("period, moment, start, end", CASES.values(), ids=CASES)
def test_a_window_is(period: Period, moment: str, start: str, end: str) -> None:
    assert (unix(start), unix(end)) == window(period, unix(moment))


def test_what_is_given_back_has_no_window() -> None:
    assert (0, 0) == window("level", unix("2026-03-01T12:34:56"))
