"""What the gateway asks of the limits: whether a request may be served, and that what it used is counted.

Rules: a request is admitted by all its limits or by none. A request that has no limits costs a few look-ups. Where this
process is the only one, nothing is ever awaited.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Final, Protocol

from sluicegate._native import Purse
from sluicegate.config import UNLIMITED, ConfigError, Problem
from sluicegate.errors import BudgetSpent, LimitReached, LimitsUnavailable
from sluicegate.limits import demand, history
from sluicegate.limits.authority import Authority
from sluicegate.limits.lease import Scope, Share
from sluicegate.limits.line import LineAuthority
from sluicegate.limits.named import limits, named
from sluicegate.limits.redis import INSTALLED, RedisAuthority
from sluicegate.limits.rounds import Remote, Rounds
from sluicegate.limits.windows import Clock

if TYPE_CHECKING:
    from collections.abc import Callable
    import socket

    from sluicegate._native import Taken
    from sluicegate.config import Allowance, Settings
    from sluicegate.exchange import Exchange, Priced
    from sluicegate.limits.counts import Counts
    from sluicegate.limits.lease import Kind
    from sluicegate.policy.keys import Caller
    from sluicegate.policy.routing import Route

    #: Tells the price of a target (its upstream, its model) at a time in Unix seconds, if it has one.
    Price = Callable[[str, str, float], Priced | None]
    #: What a request reserves: tokens of its prompt and of its answer, whether it streams, nano-dollars, credits.
    Demand = tuple[int, int, bool, int, int]

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
#: Pairs of a caller and a model whose limits are kept at hand.
_KNOWN: Final = 4096


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


class Limits:
    """All limits of a caller's requests for a model, made once for as long as both allowances are the same."""

    __slots__ = ("by_caller", "by_model", "costs", "counts_tokens", "purse", "shares")

    def __init__(self, by_caller: Allowance | None, by_model: Allowance, shares: tuple[Share, ...]) -> None:
        self.by_caller = by_caller
        self.by_model = by_model
        self.shares = shares
        self.purse = Purse(shares)
        kinds = {share.limit.kind for share in shares}
        self.counts_tokens = "tokens" in kinds
        self.costs = not _COSTS.isdisjoint(kinds)


class Reservation:
    """What one request has reserved, until it is settled."""

    __slots__ = ("_limiter", "_limits", "_taken")

    def __init__(self, limiter: Limiter, limits: Limits, taken: Taken) -> None:
        self._limiter = limiter
        self._limits = limits
        self._taken = taken

    @property
    def tokens(self) -> int:
        """Tokens reserved: the prompt's and the answer's."""
        return self._taken.tokens

    def lines(self) -> str:
        """Say in ``x-ratelimit-*`` how the limits of this request stand: lines of a head, each with its CRLF before."""
        return self._limits.purse.lines(time.monotonic())

    def headers(self) -> list[tuple[str, str]]:
        """Say the same by name."""
        return list(named(self.lines()).items())

    def settle(self, exchange: Exchange) -> None:
        """Put what was used in the place of what was reserved, once."""
        self._limiter.settle(self._limits, self._taken, exchange)


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
        self._known: dict[tuple[str, str, str], Limits] = {}

    def of(self, caller: Caller, route: Route) -> Limits | None:
        """Give the limits of a caller's requests for a model; None if nothing is limited."""
        by_caller, by_model, group = caller.allowance, route.model.limits, caller.group
        if by_model is UNLIMITED:
            if by_caller is None and not group:
                return None
            names = (caller.name, group, "")
        else:
            names = (caller.name, group, route.name)
        known = self._known.get(names)
        if known is None or known.by_caller is not by_caller or known.by_model is not by_model:
            known = self._limits(names, by_caller, by_model)
        return known if known.shares else None

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

    async def admit(self, limits: Limits, route: Route, ask: Asked, size: int, price: Price) -> Reservation:
        """Reserve what a request needs, by what it asks and its body's size in bytes.

        Raises LimitReached, BudgetSpent or LimitsUnavailable, whose headers say more.
        """
        most = route.model.max_output
        prompt, output = demand.estimate(size, ask.max_tokens, most, self._settings.reserve_default, ask.choices)
        dollars = credit = 0
        if limits.costs:
            dollars, credit = _most(route, prompt, output, price)
        taken = limits.purse.take(time.monotonic(), prompt, output, ask.stream, dollars, credit)
        if taken is None:
            taken = await self._fill(limits, (prompt, output, ask.stream, dollars, credit))
        if self._rounds is not None and (notes := taken.notes()):
            self._rounds.hear(limits.shares, notes)
        return Reservation(self, limits, taken)

    def settle(self, limits: Limits, taken: Taken, exchange: Exchange) -> None:
        """Settle a request that has ended, by its record."""
        tokens = demand.used(exchange, taken) if limits.counts_tokens else 0
        notes = taken.settle(time.monotonic(), tokens, exchange.cost, exchange.credits)
        if notes and self._rounds is not None:
            self._rounds.hear(limits.shares, notes)

    async def close(self) -> None:
        """Give back what others may use."""
        if self._rounds is not None:
            await self._rounds.close()

    def _limits(self, names: tuple[str, str, str], by_caller: Allowance | None, by_model: Allowance) -> Limits:
        caller, group, model = names
        shares: tuple[Share, ...] = ()
        if by_caller is not None:
            shares += self._of("key", caller, by_caller)
        if group and (together := self._settings.groups.get(group)) is not None:
            shares += self._of("group", group, together)
        if by_model is not UNLIMITED:
            shares += self._of("model", model, by_model)
        if len(self._known) >= _KNOWN:
            self._known.clear()
        known = self._known[names] = Limits(by_caller, by_model, shares)
        return known

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

    async def _fill(self, limits: Limits, wanted: Demand) -> Taken:
        """Ask for what is lacking, then reserve. Raises as :meth:`admit`."""
        now = time.monotonic()
        missing = [(limits.shares[place], units) for place, units in limits.purse.lacking(now, *wanted)]
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
        if (taken := limits.purse.take(now, *wanted)) is None:
            first, *_ = limits.purse.refuse(now, *wanted)
            raise self._refused(limits.shares[first], limits, now)
        return taken

    def _refused(self, share: Share, limits: Limits, now: float) -> LimitReached | BudgetSpent:
        limit = share.limit
        self._counts.limit_refused(limit.scope, limit.kind)
        code, words = _WORDS[limit.kind]
        whose = {"key": "This API key's", "group": "This API key's group's", "model": "This model's"}[limit.scope]
        headers = named(limits.purse.lines(now))
        if limit.kind in _COSTS:
            message = f"{whose} {words} for this {limit.period} is spent."
            return BudgetSpent(code, message, headers=headers, wire_type=BudgetSpent.kind)
        wait = max(share.ends - now, 0.001) if limit.period != "level" else _SOON
        headers["retry-after"] = str(math.ceil(wait))
        headers["retry-after-ms"] = str(math.ceil(wait * 1000))
        message = f"{whose} limit of {limit.capacity:,} {words} is reached."
        return LimitReached(code, message, headers=headers, wire_type=LimitReached.kind)


def _most(route: Route, prompt: int, output: int, price: Price) -> tuple[int, int]:
    """Say what a request would cost if it wrote all it may: nano-dollars and credits.

    At the first of its targets that has a price: behind one that costs nothing another may answer.
    """
    now = time.time()
    for target in route.targets:
        if (priced := price(target.upstream.name, target.model, now)) is not None:
            dollars, credit = priced.tariff.bill(prompt, output, 0, 0, 0)
            return dollars, credit or 0
    return 0, 0


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
