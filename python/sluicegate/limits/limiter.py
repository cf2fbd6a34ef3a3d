"""What the gateway asks of the limits: whether a request may be served, and that what it used is counted.

Rules: a request is admitted by all its limits or by none. A request that has no limits costs a few look-ups. Where this
process is the only one, nothing is ever awaited.
"""

from __future__ import annotations

import asyncio
from functools import partial
import math
import time
from typing import TYPE_CHECKING, Final, Self

from sluicegate._native import Purse, Tariff
from sluicegate.config import UNLIMITED, ConfigError, Problem
from sluicegate.errors import BudgetSpent, LimitReached, LimitsUnavailable
from sluicegate.limits import history
from sluicegate.limits.authority import Authority
from sluicegate.limits.lease import Scope, Share
from sluicegate.limits.line import LineAuthority
from sluicegate.limits.named import limits
from sluicegate.limits.redis import INSTALLED, RedisAuthority
from sluicegate.limits.rounds import Remote, Rounds
from sluicegate.limits.windows import Clock

if TYPE_CHECKING:
    from collections.abc import Callable
    import socket

    from sluicegate._native import Ask, Reservation
    from sluicegate.config import Allowance, Model, Settings
    from sluicegate.exchange import Priced
    from sluicegate.limits.counts import Counts
    from sluicegate.limits.lease import Kind
    from sluicegate.policy.keys import Caller
    from sluicegate.policy.routing import Route

    #: Tells the price of a target (its upstream, its model) at a time in Unix seconds, if it has one.
    Price = Callable[[str, str, float], Priced | None]

#: Under which name this process stands with an authority inside it.
_HERE: Final = "here"
#: How each kind is called in an error's code and in its words.
_WORDS: Final[dict[Kind, tuple[str, str]]] = {
    "requests": ("requests_per_minute_exceeded", "requests per minute"),
    "tokens": ("tokens_per_minute_exceeded", "tokens per minute"),
    "streams": ("concurrent_streams_exceeded", "concurrent streams"),
    "dollars": ("budget_exceeded", "budget"),
    "credits": ("budget_exceeded", "budget of credits"),
}
#: The kinds that a request's price tells.
_COSTS: Final = frozenset({"dollars", "credits"})
#: Seconds after which a stream may have ended: nobody knows when one will.
_SOON: Final = 1.0
#: Pairs of a caller and a model whose limits are kept at hand, 1 KB each.
_KNOWN: Final = 16384


class Limits(Purse):
    """All limits of a caller's requests for a model, made once for as long as both are the same.

    ``default`` is how many tokens a request may write if neither it nor the model says.
    """

    __slots__ = ("costs", "model", "shares")

    def __new__(cls, model: Model, shares: tuple[Share, ...], default: int, rounds: Rounds | None) -> Self:
        """Put together an owner's, a group's and a model's shares."""
        hear = partial(rounds.hear, shares) if rounds is not None else None
        return super().__new__(cls, shares, model.max_output, default, hear)

    def __init__(self, model: Model, shares: tuple[Share, ...], default: int, rounds: Rounds | None) -> None:
        self.model = model
        self.shares = shares
        self.costs = not _COSTS.isdisjoint(share.limit.kind for share in shares)


class Limiter:
    """The limits of one configuration; it outlives reloads, so that nobody gets a minute twice.

    ``remote`` keeps them for several processes; without it they are this process's own. To be made in a running loop.
    """

    def __init__(self, settings: Settings, counts: Counts, remote: Remote | None = None) -> None:
        self._settings = settings
        self._counts = counts
        self._rounds = Rounds(remote, counts) if remote is not None else None
        self._authority = Authority(math.inf)
        self._shares: dict[tuple[Scope, str], tuple[Allowance, tuple[Share, ...]]] = {}
        self._known: dict[tuple[Caller, str], Limits] = {}

    async def begin(self) -> None:
        """Take up what was before: connect with who keeps the limits, or ask the store what budgets have spent."""
        if self._rounds is not None:
            await self._rounds.greet()
        else:
            await asyncio.to_thread(history.recall, self._settings, self._authority, time.time())

    def follow(self, settings: Settings) -> None:
        """Take over another configuration; what is drawn from the limits that both have stays drawn."""
        self._settings = settings
        self._known.clear()

    def reserve(self, caller: Caller, route: Route, ask: Ask, price: Price) -> Reservation | None:
        """Reserve what a caller's request for a model needs; None if nothing is limited.

        All of it, or nothing if something is lacking: then the reservation ``waits``, for :meth:`fill`.
        """
        if caller.allowance is None and not caller.group and route.model.limits is UNLIMITED:
            return None
        limits = self._known.get((caller, route.name))
        if limits is None or limits.model is not route.model:
            limits = self._limits(caller, route)
        return limits.reserve(time.monotonic(), ask, _tariff(route, price) if limits.costs else None)

    async def fill(self, caller: Caller, route: Route, reservation: Reservation) -> None:
        """Ask for what a reservation waits for that was just made, then reserve it.

        Raises LimitReached, BudgetSpent or LimitsUnavailable, whose headers say more.
        """
        limits, now = self._known[caller, route.name], time.monotonic()
        missing = [(limits.shares[place], units) for place, units in reservation.lacking(now)]
        if self._rounds is None:
            clock = Clock(now, time.time())
            for share, lacks in missing:
                share.granted(self._authority.answer(_HERE, share.ask(lacks, now), clock), now)
        elif not await self._rounds.fill(missing):
            decision = self._settings.limits_unavailable
            self._counts.limits_unavailable(decision)
            if decision == "deny":
                raise LimitsUnavailable
            self._rounds.alone(missing)
        now = time.monotonic()
        if not reservation.take(now):
            first, *_ = reservation.refuse(now)
            raise self._refused(limits.shares[first], reservation, now)

    async def close(self) -> None:
        """Give back what others may use."""
        if self._rounds is not None:
            await self._rounds.close()

    def _limits(self, caller: Caller, route: Route) -> Limits:
        shares: tuple[Share, ...] = ()
        if caller.allowance is not None:
            shares += self._of("key", caller.name, caller.allowance)
        if (together := self._settings.groups.get(caller.group)) is not None:
            shares += self._of("group", caller.group, together)
        if route.model.limits is not UNLIMITED:
            shares += self._of("model", route.name, route.model.limits)
        if len(self._known) >= _KNOWN:
            self._known.clear()
        limits = Limits(route.model, shares, self._settings.reserve_default, self._rounds)
        self._known[caller, route.name] = limits
        return limits

    def _of(self, scope: Scope, owner: str, allowance: Allowance) -> tuple[Share, ...]:
        known = self._shares.get((scope, owner))
        if known is None or known[0] != allowance:
            if known is not None:
                self._known.clear()  # others' requests may draw from what changes here
            known = self._shares[scope, owner] = (allowance, self._made(scope, owner, allowance, known))
        return known[1]

    def _made(
        self, scope: Scope, owner: str, allowance: Allowance, known: tuple[Allowance, tuple[Share, ...]] | None
    ) -> tuple[Share, ...]:
        """Make an owner's shares; of limits it had before, the same ones, with what is drawn."""
        before = {share.name: share for share in known[1]} if known is not None else {}
        shares = []
        for limit in limits(scope, owner, allowance):
            if (share := before.get(limit.name)) is None:
                share = Share(limit, whole=self._rounds is None)
            else:
                share.resized(limit)
            shares.append(share)
        return tuple(shares)

    def _refused(self, share: Share, reservation: Reservation, now: float) -> LimitReached | BudgetSpent:
        limit = share.limit
        self._counts.limit_refused(limit.scope, limit.kind)
        code, words = _WORDS[limit.kind]
        whose = {"key": "This API key's", "group": "This API key's group's", "model": "This model's"}[limit.scope]
        headers = dict(reservation.headers(now))
        if limit.kind in _COSTS:
            message = f"{whose} {words} for this {limit.period} is spent."
            return BudgetSpent(code, message, headers=headers, wire_type=BudgetSpent.kind)
        wait = max(share.ends - now, 0.001) if limit.period != "level" else _SOON
        headers["retry-after"] = str(math.ceil(wait))
        headers["retry-after-ms"] = str(math.ceil(wait * 1000))
        message = f"{whose} limit of {limit.capacity:,} {words} is reached."
        return LimitReached(code, message, headers=headers, wire_type=LimitReached.kind)


def _tariff(route: Route, price: Price) -> Tariff | None:
    """Give the price of the first target that has one: behind one that costs nothing another may answer."""
    now = time.time()
    for target in route.targets:
        priced = price(target.upstream.name, target.model, now)
        if priced is not None and isinstance(priced.tariff, Tariff):
            return priced.tariff
    return None


def remote(settings: Settings, line: socket.socket | None) -> Remote | None:
    """Connect with who keeps the limits of several machines, else of this one's workers, if anybody does.

    ``line`` leads to the supervisor and is this object's from now on. Raises ConfigError.
    """
    if settings.shared is None:
        return LineAuthority(line) if line is not None else None
    if line is not None:
        line.close()
    if not INSTALLED:
        problem = Problem("shared", "needs the extra redis; install it: pip install 'sluicegate[redis]'")
        raise ConfigError("this machine", (problem,))
    return RedisAuthority(settings.shared.reveal())
