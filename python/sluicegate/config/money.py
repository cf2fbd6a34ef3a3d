"""How prices are read: decimals into whole billionths, never by way of a float's arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
import re
from typing import Final

from sluicegate.config.readers import Wrong, text
from sluicegate.config.values import shown

#: Billionths in one: nano-dollars in a dollar, nano-credits in a credit.
BILLION: Final = 10**9
_MOST: Final = 1_000_000
_PRICE_NAME = re.compile(r"\*|(?=.{1,256}\Z)[^\s*]+\*?")


def decimal(what: str, most: int) -> Callable[[object], int]:
    """Make a reader of a decimal with up to nine places, from 0 to ``most``, as a count of billionths."""

    def read(value: object) -> int:
        # repr of a float is the shortest text that names it: what the file said.
        written = repr(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
        try:
            exact = Decimal(written) * BILLION if isinstance(written, str) else None
        except InvalidOperation:
            exact = None
        if exact is None or not exact.is_finite() or not 0 <= exact <= most * BILLION:
            raise Wrong(f"{shown(value)} is not {what}; write a decimal from 0 to {most:,}")
        if exact != int(exact):
            raise Wrong(f"{shown(value)} has more than nine places")
        return int(exact)

    return read


#: Dollars, as nano-dollars.
dollars = decimal("an amount of dollars", _MOST)
#: Credits for a dollar, as nano-credits.
per_dollar = decimal("a number of credits", 1_000_000_000)


def moment(value: object) -> int:
    """Read a date or a time as Unix seconds; what names no zone is UTC."""
    read = value
    if isinstance(read, str):
        try:
            read = datetime.fromisoformat(read)
        except ValueError:
            read = None
    if isinstance(read, date) and not isinstance(read, datetime):
        read = datetime.combine(read, time(), UTC)
    if not isinstance(read, datetime):
        raise Wrong(f"{shown(value)} is not a date; write one such as 2026-01-31, or 2026-01-31T12:00:00Z")
    return int((read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp())


def price_name(value: object) -> str:
    """Read whose price it is: a target, a model, or either with a ``*`` at its end."""
    name = text(value)
    if _PRICE_NAME.fullmatch(name) is None:
        raise Wrong(f"{shown(value)} names no target; write `upstream/model` or a model's name, a `*` only at the end")
    return name
