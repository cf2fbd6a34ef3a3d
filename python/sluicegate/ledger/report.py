"""What the ledger answers people: sums of days by model, key, group, target.

Rules: read from the sums of days, so a million rows are no more work than one; money is shown as an exact decimal of
dollars; what was never priced is ``null``, not nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
import csv
import io
from types import MappingProxyType

import msgspec

from sluicegate.store.interface import COLUMNS, FIGURES, GROUPS, Row, Store, key_of

#: What people call the columns they may group by.
GROUPINGS: Mapping[str, str] = MappingProxyType(
    {"day": "day", "model": "model", "target": "target", "key": "caller", "group": "caller_group"}
)
#: The figures of a line, as people call them.
LINE: tuple[str, ...] = (
    *("requests", "input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens"),
    *("cost", "credits", "unpriced_requests"),
)
#: Where a row's columns stand.
PLACE: Mapping[str, int] = MappingProxyType({name: place for place, name in enumerate(COLUMNS)})
_BILLION = 10**9
#: Rows read at a time.
_AT_ONCE = 10_000
_COST, _CREDITS, _UNPRICED = FIGURES.index("cost"), FIGURES.index("credits"), FIGURES.index("unpriced")

Line = dict[str, str | int | msgspec.Raw | None]


def usage(store: Store, by: Sequence[str], since: str, until: str) -> list[Line]:
    """Sum the days from ``since`` to ``until`` by names of GROUPINGS. Raises StoreError."""
    return lines(store.daily(since, until), by)


def rows_between(store: Store, since: int, until: int) -> Iterator[Row]:
    """Read the rows received from ``since`` until before ``until`` (microseconds). Raises StoreError."""
    after: tuple[int, str, int] | None = None
    while rows := store.rows(since, until, _AT_ONCE, after):
        yield from rows
        after = key_of(rows[-1])


def own_usage(store: Store, caller: str, by: Sequence[str], since: str, until: str) -> list[Line]:
    """Sum one caller's days as :func:`usage` does. Raises StoreError."""
    return lines(store.daily_of(caller, since, until), by)


def lines(sums: Iterable[Row], by: Sequence[str]) -> list[Line]:
    """Sum the store's lines by names of GROUPINGS, in the order of those."""
    places = [GROUPS.index(GROUPINGS[name]) for name in by]
    found: dict[tuple[str, ...], list[int]] = {}
    for row in sums:
        figures = found.setdefault(tuple(row[place] for place in places), [0] * len(FIGURES))
        for place, figure in enumerate(row[len(GROUPS) :]):
            figures[place] += figure
    return [_line(by, key, found[key]) for key in sorted(found)]


def _line(by: Sequence[str], key: tuple[str, ...], figures: list[int]) -> Line:
    priced = figures[_UNPRICED] < figures[0]
    line: Line = dict(zip(by, key, strict=True))
    line |= dict(zip(LINE, figures, strict=True))
    line["cost"] = msgspec.Raw(in_dollars(figures[_COST]).encode()) if priced else None
    line["credits"] = figures[_CREDITS] if priced else None
    return line


def in_dollars(nano: int) -> str:
    """Write nano-dollars as dollars, exactly."""
    return f"{nano // _BILLION}.{nano % _BILLION:09}".rstrip("0").rstrip(".")


def as_json(found: Sequence[Line]) -> str:
    """Write lines as a JSON array of objects; a cost is a number whose digits are exact."""
    return msgspec.json.format(msgspec.json.encode(found), indent=2).decode()


def as_csv(found: Sequence[Line], by: Sequence[str]) -> str:
    """Write lines as CSV with a head; what is not known is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*by, *LINE])
    writer.writerows([_shown(value) for value in line.values()] for line in found)
    return text.getvalue().rstrip("\n")


def as_table(found: Sequence[Line], by: Sequence[str]) -> str:
    """Write lines as a table for a terminal."""
    return _table([[*by, *LINE], *([_shown(value) or "-" for value in line.values()] for line in found)], len(by))


def structs_as_json(found: Sequence[msgspec.Struct]) -> str:
    """Write what was found as a JSON array of objects."""
    return msgspec.json.format(msgspec.json.encode(found), indent=2).decode()


def structs_as_csv(found: Sequence[msgspec.Struct]) -> str:
    """Write what was found, one or more of a kind, as CSV with a head."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(_cells(found))
    return text.getvalue().rstrip("\n")


def structs_as_table(found: Sequence[msgspec.Struct]) -> str:
    """Write what was found, one or more of a kind, as a table for a terminal."""
    head, *rest = _cells(found)
    return _table([head, *([cell or "-" for cell in row] for row in rest)], len(head))


def _cells(found: Sequence[msgspec.Struct]) -> list[list[str]]:
    head = found[0].__struct_fields__
    return [[*head], *([_shown(getattr(one, name)) for name in head] for one in found)]


def _table(cells: Sequence[Sequence[str]], words: int) -> str:
    """Lay cells out in columns, the first ``words`` of them to the left, the figures to the right."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place < words else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )


def _shown(value: str | int | msgspec.Raw | None) -> str:
    if isinstance(value, msgspec.Raw):
        return bytes(value).decode()
    # A name may come from a caller: nothing in it may move a terminal's cursor.
    return "" if value is None else "".join(sign if sign.isprintable() else "?" for sign in str(value))
