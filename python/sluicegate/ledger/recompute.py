"""Every row's cost worked out again, from its tokens and the price that the store has kept for it.

Rules: a row's cost must come out to the nano-dollar, what attempts used that were left included, and its credits to the
credit; what was not priced must still have no cost. The arithmetic is the gateway's own (``rust/src/tariff.rs``), the
tokens and prices are the store's.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from sluicegate.exchange import Priced, Tokens, Usage
from sluicegate.ledger.left import left
from sluicegate.ledger.prices import bill, priced_again
from sluicegate.ledger.report import PLACE, in_dollars, rows_between
from sluicegate.store.interface import MOST, Row, Store

_MICROS = 1_000_000
_Bill = tuple[int | None, int | None]


class Difference(msgspec.Struct, frozen=True):
    """A row that does not come out. Costs in dollars, exactly; None where there is none, or none can be told."""

    id: str
    received_at: str
    target: str
    price: str
    cost: str | None
    recomputed_cost: str | None
    credits: int | None
    recomputed_credits: int | None


class Recomputed(msgspec.Struct, frozen=True):
    """What came of it: how many rows, how many of them have no price, nano-dollars of the others, what differs."""

    rows: int
    unpriced: int
    cost: int
    differences: list[Difference]


def recompute(store: Store, since: int, until: int) -> Recomputed:
    """Work out the rows received from ``since`` until before ``until`` (microseconds). Raises StoreError."""
    prices = {version: priced for version, text in store.prices().items() if (priced := _priced(version, text))}
    rows = unpriced = cost = 0
    found: list[Difference] = []
    for row in rows_between(store, since, until):
        rows += 1
        told = row[PLACE["cost"]], row[PLACE["credits"]]
        right = _bill_of(row, prices)
        unpriced += right[0] is None
        cost += right[0] or 0
        if told != right:
            found.append(_difference(row, told, right))
    return Recomputed(rows, unpriced, cost, found)


def summary(done: Recomputed) -> str:
    """Say in a line what came of it."""
    unpriced = f", {done.unpriced} without a price" if done.unpriced else ""
    return f"{done.rows} requests{unpriced}, ${in_dollars(done.cost)} recomputed, {len(done.differences)} differ"


def _priced(version: str, text: str) -> Priced | None:
    """Give a price as it was kept; None for what is none: its rows differ."""
    try:
        return priced_again(version, text)
    except ValueError:
        return None


def _bill_of(row: Row, prices: Mapping[str, Priced]) -> _Bill:
    priced = prices.get(row[PLACE["price"]])
    if priced is None:
        return None, None
    tokens = Tokens(
        row[PLACE["input_tokens"]],
        row[PLACE["output_tokens"]],
        row[PLACE["cached_tokens"]],
        row[PLACE["cache_write_tokens"]],
        row[PLACE["reasoning_tokens"]],
    )
    cost, credit = bill(priced, Usage(tokens, row[PLACE["input_provenance"]], row[PLACE["output_provenance"]]))
    return _with_left(cost, row, prices), credit


def _with_left(cost: int, row: Row, prices: Mapping[str, Priced]) -> int | None:
    """Add what the row's attempts used that were left; None if that cannot be told any more."""
    attempts = left(row)
    if attempts is None:
        return None
    for attempt in attempts:
        if attempt.price:
            priced = prices.get(attempt.price)
            if priced is None:
                return None
            cost += bill(priced, attempt.usage)[0]
    return min(cost, MOST)


def _difference(row: Row, told: _Bill, right: _Bill) -> Difference:
    return Difference(
        row[PLACE["id"]],
        datetime.fromtimestamp(row[PLACE["received_at"]] / _MICROS, UTC).isoformat(timespec="milliseconds"),
        row[PLACE["target"]],
        row[PLACE["price"]],
        _dollars(told[0]),
        _dollars(right[0]),
        told[1],
        right[1],
    )


def _dollars(nano: int | None) -> str | None:
    return None if nano is None else in_dollars(nano)
