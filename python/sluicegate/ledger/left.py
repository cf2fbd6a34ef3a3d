"""What attempts used that were left for another: beside a row's own figures, in its ``attempts``.

Rules: a row's tokens are those of the attempt that decided it, its cost is that of all attempts, each by the price of
its own target; credits are the deciding attempt's alone: a caller does not pay for what failed behind its back.
"""

from __future__ import annotations

import msgspec

from sluicegate.exchange import NO_USAGE, Usage
from sluicegate.ledger.report import PLACE
from sluicegate.store.interface import Row


class Left(msgspec.Struct, frozen=True):
    """An attempt as a row keeps it: those of its members that its bill needs. ``cost`` in nano-dollars."""

    target: str
    usage: Usage = NO_USAGE
    decisive: bool = False
    upstream_request_id: str = ""
    price: str = ""
    cost: int | None = None


_decode = msgspec.json.Decoder(list[Left]).decode


def left(row: Row) -> list[Left] | None:
    """Give the attempts of a row that were left; None for one that had too many to keep their figures."""
    text = row[PLACE["attempts"]]
    if not text:
        return []
    try:
        return [attempt for attempt in _decode(text) if not attempt.decisive]
    except msgspec.DecodeError:
        return None
