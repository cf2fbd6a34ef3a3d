"""One limit and a holder's part in it, as Python knows them, and what the holder and its authority tell each other.

The algorithm, its rules and the bound that follows from them stand in ``rust/src/lease.rs``: it runs for each request.
What a holder tells its authority are totals, never differences.
"""

from __future__ import annotations

from typing import Final, Literal, Self

import msgspec

from sluicegate import _native
from sluicegate.limits.windows import Period

#: Counts saturate here: the largest integer that every JSON and Lua reader holds exactly.
LARGEST: Final = 2**53 - 1

Scope = Literal["key", "group", "model"]
Kind = Literal["requests", "tokens", "streams", "dollars", "credits"]


class Limit(msgspec.Struct, frozen=True):
    """One limit: who is limited, what is counted, how many units fit into a window of its period."""

    scope: Scope
    owner: str
    kind: Kind
    period: Period
    capacity: int

    @property
    def name(self) -> str:
        """The one name under which all holders and their authority know it."""
        return f"{self.scope}/{self.owner}/{self.kind}/{self.period}"


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """What a holder tells its authority about one limit, and what it wants of it.

    ``window`` is the start of the window that ``drawn`` and ``kept`` belong to. ``drawn`` is what the holder has taken
    in that window altogether; ``kept`` is what it holds on lease from now on (a level's: with what is in use).
    """

    name: str
    period: Period
    capacity: int
    window: int
    drawn: int
    kept: int
    wanted: int


class Grant(msgspec.Struct, frozen=True, array_like=True):
    """The authority's answer: ``granted`` units more on lease, ``left`` for others beside them.

    ``drawn`` is what the holder has drawn in ``window`` by its own reports: where it goes on from in a window that it
    comes (back) to. ``ends`` and ``lasts`` are seconds from the moment of asking: to the end of the window, and of the
    lease.
    """

    window: int
    ends: float
    granted: int
    left: int
    lasts: float
    drawn: int


class Share(_native.Share):
    """A holder's part in one limit. ``whole``: it is the only holder, and leases all there is."""

    __slots__ = ("limit", "name")

    def __new__(cls, limit: Limit, *, whole: bool = False) -> Self:
        """Make a part of which nothing is known yet."""
        return super().__new__(cls, limit.kind, limit.capacity, level=limit.period == "level", whole=whole)

    def __init__(self, limit: Limit, *, whole: bool = False) -> None:
        self.limit = limit
        self.name = limit.name

    def resized(self, limit: Limit) -> None:
        """Take over the same limit with another capacity; what is drawn stays drawn."""
        self.limit = limit
        self.resize(limit.capacity)

    def ask(self, lacking: int | None, now: float) -> Ask:
        """Make the report, with the wish for what is lacking; None: it is the last one, and gives the lease back."""
        limit = self.limit
        return Ask(self.name, limit.period, limit.capacity, *self.report(lacking, now))

    def granted(self, grant: Grant, asked: float) -> None:
        """Take the authority's answer to a question of the moment ``asked``."""
        self.heard(grant.window, grant.ends, grant.granted, grant.left, grant.lasts, grant.drawn, asked)
