"""What the gateway asks of the limits: whether a request may be served, and that what it used is counted.

Rules: a request is admitted by all its limits or by none. A request that has no limits costs a few look-ups. Where this
process is the only one, nothing is ever awaited.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
import math
import time
from typing import TYPE_CHECKING, Final, Protocol

from sluicegate.config import UNLIMITED, ConfigError, Problem
from sluicegate.errors import BudgetSpent, LimitReached, LimitsUnavailable
from sluicegate.limits import demand, history
from sluicegate.limits.authority import Authority
from sluicegate.limits.lease import Scope, Share, Taken, at_hand, lacking, take, units, want
from sluicegate.limits.line import LineAuthority
from sluicegate.limits.named import limits, rate_headers, rate_lines
from sluicegate.limits.redis import INSTALLED, RedisAuthority
from sluicegate.limits.rounds import Remote, Rounds
from sluicegate.limits.windows import Clock

if TYPE_CHECKING:
    from collections.abc import Callable
    import socket

    from sluicegate.config import Allowance, Settings
    from sluicegate.exchange import Exchange, Priced
    from sluicegate.limits.counts import Counts
    from sluicegate.limits.demand import Demand
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


class Asked(Protocol):
    """What a request asks, as far as limits go."""

    @property
    def max_tokens(self) -> int | None:
        """The most tokens it may write, if it says so."""

    @property
    def choices(self) -> int:
        """How many answers it asks for."""

    @property
    def stream(self) -> bool:
        """Whether it asks for an answer in pieces."""


class Reservation:
    """What one request has reserved, until it is settled."""

    __slots__ = ("_demand", "_limiter", "_settled", "_taken")

    def __init__(self, limiter: Limiter, taken: Sequence[Taken], wanted: Demand) -> None:
        self._limiter = limiter
        self._taken = taken
        self._demand = wanted
        self._settled = False

    @property
    def tokens(self) -> int:
        """Tokens reserved: the prompt's and the answer's."""
        return self._demand.prompt + self._demand.output

    def lines(self) -> str:
        """Say in ``x-ratelimit-*`` how the limits of this request stand: lines of a head, each with its CRLF before."""
        return rate_lines([share for share, _, _ in self._taken], time.monotonic())

    def headers(self) -> list[tuple[str, str]]:
        """Say the same by name."""
        return list(rate_headers([share for share, _, _ in self._taken], time.monotonic()).items())

    def settle(self, exchange: Exchange) -> None:
        """Put what was used in the place of what was reserved, once."""
        if not self._settled:
            self._settled = True
            self._limiter.settle(self._taken, self._demand, exchange)


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

    def of(self, caller: Caller, route: Route) -> list[Share]:
        """Give the shares that a caller's requests for a model draw from; none if nothing is limited."""
        shares: list[Share] = []
        if caller.allowance is not None:
            shares += self._of("key", caller.name, caller.allowance)
        if caller.group and (together := self._settings.groups.get(caller.group)) is not None:
            shares += self._of("group", caller.group, together)
        if route.model.limits is not UNLIMITED:
            shares += self._of("model", route.name, route.model.limits)
        return shares

    async def begin(self) -> None:
        """Take up what was before: connect with who keeps the limits, or ask the store what budgets have spent."""
        if self._rounds is not None:
            await self._rounds.greet()
        else:
            await asyncio.to_thread(history.recall, self._settings, self._authority, time.time())

    def follow(self, settings: Settings) -> None:
        """Take over another configuration; what is drawn from the limits that both have stays drawn."""
        self._settings = settings

    async def admit(self, shares: Sequence[Share], route: Route, ask: Asked, size: int, price: Price) -> Reservation:
        """Reserve what a request needs, by what it asks and its body's size in bytes.

        Raises LimitReached, BudgetSpent or LimitsUnavailable, whose headers say more.
        """
        wanted = self._demand(shares, route, ask, size, price)
        wants = [want(share, units) for share in shares if (units := wanted.of(share.kind))]
        now = time.monotonic()
        if not at_hand(wants, now):
            await self._fill(lacking(wants, now), now)
            now = time.monotonic()
            if missing := lacking(wants, now):
                raise self._refused(missing[0][0], shares, now)
        taken = take(wants)
        if self._rounds is not None:
            for share, _, _ in taken:
                self._rounds.watch(share)
                if share.low:
                    self._rounds.want(share, share.limit.lease)
        return Reservation(self, taken, wanted)

    def settle(self, taken: Sequence[Taken], wanted: Demand, exchange: Exchange) -> None:
        """Settle a request that has ended, by its record."""
        now = time.monotonic()
        for share, window, reserved in taken:
            if share.kind == "requests":
                continue
            if share.kind == "tokens":
                actual = demand.used(exchange, wanted)
            elif share.kind == "dollars":
                actual = units(exchange.cost)
            elif share.kind == "credits":
                actual = units(exchange.credits)
            else:
                actual = reserved
            urgent = share.settle(window, reserved, actual, now)
            if self._rounds is not None:
                if urgent:
                    self._rounds.want(share, 0)
                else:
                    self._rounds.watch(share)

    async def close(self) -> None:
        """Give back what others may use."""
        if self._rounds is not None:
            await self._rounds.close()

    def _demand(self, shares: Sequence[Share], route: Route, ask: Asked, size: int, price: Price) -> Demand:
        """Estimate what a request would use, and cost at the first of its targets, if it wrote all it may."""
        most = route.model.max_output
        prompt, output = demand.estimate(size, ask.max_tokens, most, self._settings.reserve_default, ask.choices)
        for share in shares:
            if share.kind in _COSTS:
                break
        else:
            return demand.Demand(prompt, output, ask.stream)
        target = route.targets[0]
        priced = price(target.upstream.name, target.model, time.time())
        dollars, credit = priced.tariff.bill(prompt, output, 0, 0, 0) if priced is not None else (0, 0)
        return demand.Demand(prompt, output, ask.stream, units(dollars), units(credit))

    def _of(self, scope: Scope, owner: str, allowance: Allowance) -> tuple[Share, ...]:
        known = self._shares.get((scope, owner))
        if known is None or known[0] is not allowance:
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
                share.resize(limit)
            shares.append(share)
        return tuple(shares)

    async def _fill(self, missing: Sequence[tuple[Share, int]], now: float) -> None:
        if self._rounds is None:
            clock = Clock(now, time.time())
            for share, lacks in missing:
                share.granted(self._authority.answer(_HERE, share.ask(lacks, now), clock), now)
            return
        if not await self._rounds.fill(missing):
            decision = self._settings.limits_unavailable
            self._counts.limits_unavailable(decision)
            if decision == "deny":
                raise LimitsUnavailable
            self._rounds.alone(missing)

    def _refused(self, share: Share, shares: Sequence[Share], now: float) -> LimitReached | BudgetSpent:
        limit = share.limit
        self._counts.limit_refused(limit.scope, limit.kind)
        code, words = _WORDS[limit.kind]
        whose = {"key": "This API key's", "group": "This API key's group's", "model": "This model's"}[limit.scope]
        headers = rate_headers(shares, now)
        if limit.kind in _COSTS:
            message = f"{whose} {words} for this {limit.period} is spent."
            return BudgetSpent(code, message, headers=headers, wire_type=BudgetSpent.kind)
        wait = max(share.ends - now, 0.001) if limit.period != "level" else _SOON
        headers["retry-after"] = str(math.ceil(wait))
        headers["retry-after-ms"] = str(math.ceil(wait * 1000))
        message = f"{whose} limit of {limit.capacity:,} {words} is reached."
        return LimitReached(code, message, headers=headers, wire_type=LimitReached.kind)


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
