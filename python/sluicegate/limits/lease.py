"""The lease algorithm, as a holder of leases plays it: what of each limit it may give away by itself.

A limit is a number of units: requests or tokens of a minute, money or credits of a window, streams at a time. One
authority (:mod:`sluicegate.limits.authority` is its half) knows what each holder has drawn and has on lease. A holder
reserves a request's units out of its lease at admission, without asking; if its lease does not hold them it asks for
more. At the end the reservation is settled with what was really used.

Rules of this file:

- Pure: no I/O, no clock; ``now`` is monotonic seconds and passed in.
- What a holder tells its authority are totals, never differences: a report that is lost, or comes twice, changes
  nothing.
- A lease is trusted for as long as the authority said, counted from the moment of asking: the holder forgets it before
  the authority gives it to somebody else.
- The bound: what is used beyond a limit is at most what the requests in flight use above their reservations, and the
  leases of holders that died or were cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import Final, Literal

import msgspec

from sluicegate.limits.windows import Period

#: Counts saturate here: the largest integer that every JSON and Lua reader holds exactly.
LARGEST: Final = 2**53 - 1
#: A lease is this part of its limit: with more holders than that, they ask more often.
_PARTS: Final = 16

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

    @property
    def lease(self) -> int:
        """Units of an ordinary lease."""
        return max(1, self.capacity // _PARTS)


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


class Share:
    """A holder's part in one limit. ``whole``: it is the only holder, and leases all there is."""

    __slots__ = (
        *("_active", "_alone", "_asked", "_changes", "_heard", "_whole"),
        *("drawn", "ends", "free", "kind", "left", "limit", "name", "until", "window"),
    )

    def __init__(self, limit: Limit, *, whole: bool = False) -> None:
        self.limit = limit
        self.name = limit.name
        self.kind = limit.kind
        #: Start of the window that all figures belong to.
        self.window = 0
        #: When that window ends.
        self.ends = -math.inf
        #: When the lease ends: never after its window.
        self.until = -math.inf
        #: Units on lease that no request has.
        self.free = 0
        #: Units that requests have taken in this window; a level's: that are in use.
        self.drawn = 0
        #: What the authority had left, when it was last asked.
        self.left = limit.capacity
        #: It was drawn from since the last report.
        self._active = False
        #: What is free is not a lease, but what this holder allows itself without its authority.
        self._alone = False
        #: How often ``drawn`` has changed; how often it had when it was last told, and when that was last answered.
        self._changes = self._asked = self._heard = 0
        self._whole = whole

    def resize(self, limit: Limit) -> None:
        """Take over the same limit with another capacity; what is drawn stays drawn."""
        more = limit.capacity - self.limit.capacity
        self.free = max(0, self.free + more) if self._whole else min(self.free, limit.lease)
        self.limit = limit

    def lacks(self, units: int, now: float) -> int:
        """Say how many units must be asked for before so many can be taken; 0: none, take them."""
        if now < self.until:
            return units - self.free if units > self.free else 0
        return units

    def take(self, units: int) -> int:
        """Take units that are not lacking; returns the window they are of, which settling them needs."""
        self.free -= units
        self.drawn += units
        self.drawn = min(self.drawn, LARGEST)
        self._active = True
        self._changes += 1
        return self.window

    def settle(self, window: int, reserved: int, used: int, now: float) -> bool:
        """Put the units that were used in the place of those reserved in a window; True if the authority is to know.

        What was reserved too much goes back to the lease while its window lasts; what was used above a reservation of
        a window gone by is drawn from the present one. A level's units all come back.
        """
        level = self.limit.period == "level"
        more = -reserved if level else used - reserved
        if window != self.window:
            more = max(0, more)
        if not more:
            return False
        drawn = self.drawn + more
        self.drawn = 0 if drawn < 0 else min(drawn, LARGEST)
        self._changes += 1
        if now >= self.until:
            self.free = 0
            return True
        self.free -= more
        if self.free < 0:
            self.left = max(0, self.left + self.free)
            self.free = 0
            return True
        return more < 0 and not self._whole and self.left < self.limit.lease

    def ask(self, lacking: int, now: float) -> Ask:
        """Make the report, with the wish for what is lacking or, if nothing is, for nothing.

        Without a wish a lease that was not drawn from since the last report is given back, and one that has grown by
        settlements is cut to its ordinary size; both also if the authority has less than a lease left for others.
        """
        limit = self.limit
        if now >= self.until or self._alone:
            self.free = 0
            self._alone = False
        if not lacking:
            self.free = min(self.free, limit.lease) if self._active and self.left >= limit.lease else 0
        self._active = False
        self._asked = self._changes
        level = limit.period == "level"
        wanted = 0
        if lacking:
            wanted = limit.capacity if self._whole else max(lacking, limit.lease)
        return Ask(
            name=self.name,
            period=limit.period,
            capacity=limit.capacity,
            window=self.window,
            drawn=0 if level else self.drawn,
            kept=self.free + (self.drawn if level else 0),
            wanted=wanted,
        )

    def returned(self, now: float) -> Ask:
        """Make the last report, which gives the lease back."""
        self._active = False
        self.left = 0
        return self.ask(0, now)

    def granted(self, grant: Grant, asked: float) -> None:
        """Take the authority's answer to a question of the moment ``asked``."""
        if grant.window != self.window:
            self.window = grant.window
            self.drawn, self.free = grant.drawn, 0
        self.ends = asked + grant.ends
        self.until = min(self.ends, asked + grant.lasts)
        self._heard = self._asked
        self.free += grant.granted
        self.left = grant.left

    def alone(self, now: float, ends: float, window: int) -> None:
        """Go on without the authority: until it answers again, only what this holder itself has drawn counts."""
        if window != self.window:
            self.window = window
            self.drawn = 0
        self.ends = self.until = ends
        self.free = max(0, self.limit.capacity - self.drawn)
        self.left = 0
        self._alone = True

    @property
    def low(self) -> bool:
        """Whether it is time to ask for the next lease, before a request has to wait for it."""
        return not self._whole and self.free < self.limit.lease // 4 and self.left >= self.limit.lease

    @property
    def busy(self) -> bool:
        """Whether the authority must hear of it from time to time: it holds a lease, or has drawn unreported."""
        return self._changes != self._heard or self.free > 0 or (self.limit.period == "level" and self.drawn > 0)

    def remaining(self, now: float) -> int:
        """Say how many units are left for everybody, as far as this holder knows."""
        capacity = self.limit.capacity
        if now >= self.ends:
            return capacity
        left = self.left + self.free if now < self.until else self.left
        return min(left, capacity)


#: Units that a request needs of a share.
Want = tuple[Share, int]
#: Units that it has reserved of a share, in a window.
Taken = tuple[Share, int, int]


def want(share: Share, units: int) -> Want:
    """Make a :data:`Want`: never more than the whole limit, which is what a request waits for at most."""
    capacity = share.limit.capacity
    return (share, min(capacity, units))


def lacking(wants: Sequence[Want], now: float) -> list[tuple[Share, int]]:
    """Say which shares must be filled up before a request may be admitted, and by how much."""
    return [(share, lacks) for share, units in wants if (lacks := share.lacks(units, now))]


def at_hand(wants: Sequence[Want], now: float) -> bool:
    """Whether nothing is lacking: what is asked for every request, so without a call for each share."""
    for share, units in wants:  # noqa: SIM110  # a generator costs more than the loop
        if units > share.free or now >= share.until:
            return False
    return True


def take(wants: Sequence[Want]) -> list[Taken]:
    """Reserve all of a request's units. Nothing may be lacking."""
    return [(share, share.take(units), units) for share, units in wants]


def units(figure: object, otherwise: int = 0) -> int:
    """Read a count of units from whatever an upstream or a price table came to: never negative, never above LARGEST.

    What is no number at all (NaN, text, nothing) is ``otherwise``: the reservation stands, rather than vanishing.
    """
    if isinstance(figure, bool) or not isinstance(figure, int | float) or figure != figure:  # noqa: PLR0124  # NaN
        return otherwise
    return math.ceil(max(0, min(figure, LARGEST)))
