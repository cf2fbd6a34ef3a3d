"""Which price holds for a target at a time.

Rules: a request has the price that held when it was admitted, whatever is configured later; each price that ever made
a cost is kept in the store under its version, so that any day can be worked out again. The arithmetic is
``rust/src/tariff.rs``, for rows and for streams alike.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
import hashlib

import msgspec

from sluicegate import _native
from sluicegate.config import Credits, Price, PriceTier, Settings
from sluicegate.exchange import Exchange, Priced, Usage
from sluicegate.ledger.estimates import estimated

#: Targets whose prices are kept at hand; below a ``*`` there may be any number.
_KNOWN = 4096
#: A column of the store holds no more nano-dollars.
_MOST = 2**63 - 1

_Six = tuple[int, int, int, int, int, int]


class Kept(msgspec.Struct, frozen=True):
    """What the store keeps of a price: with it a row's cost and credits can be worked out again."""

    price: Price
    credits: Credits | None


class Prices:
    """All prices of one configuration."""

    def __init__(self, settings: Settings) -> None:
        self._named: dict[str, list[tuple[int, Priced]]] = {}
        self._kept: dict[str, str] = {}
        for price in sorted(settings.prices, key=lambda price: price.since):
            kept = Kept(price, settings.credits)
            text = msgspec.json.encode(kept)
            version = hashlib.sha256(text).hexdigest()[:12]
            self._kept[version] = text.decode()
            self._named.setdefault(price.model, []).append((price.since, Priced(version, tariff(kept))))
        # The longest first: it is the nearest.
        self._stars = sorted((name for name in self._named if name.endswith("*")), key=len, reverse=True)
        self._targets: dict[tuple[str, str], list[tuple[int, Priced]]] = {}

    @property
    def kept(self) -> Mapping[str, str]:
        """Every price as the store keeps it, by version."""
        return self._kept

    def at(self, upstream: str, model: str, time: float) -> Priced | None:
        """Give the price of a target at a time (Unix seconds); None if it has none then."""
        if not self._named:
            return None
        known = self._targets.get((upstream, model))
        if known is None:
            known = self._find(upstream, model)
            if len(self._targets) < _KNOWN:
                self._targets[upstream, model] = known
        if known and known[-1][0] <= time:
            return known[-1][1]  # nearly always: the newest price holds
        place = bisect_right(known, time, key=_since)
        return known[place - 1][1] if place else None

    def settle(self, exchange: Exchange) -> None:
        """Write down what an ended exchange used, estimated where nobody said, and what it cost."""
        exchange.usage = estimated(exchange)
        priced = exchange.priced = self.at(exchange.upstream, exchange.upstream_model, exchange.received_at)
        if priced is not None:
            exchange.cost, exchange.credits = bill(priced, exchange.usage)
            for attempt in exchange.attempts:
                if attempt.cost is not None:
                    exchange.cost = min(_MOST, exchange.cost + attempt.cost)

    def charge(self, exchange: Exchange) -> tuple[str, int | None]:
        """Give the price of the attempt under way, and what it cost by what its upstream has reported.

        One that reported nothing, or has no price, has neither.
        """
        usage = exchange.usage
        if usage.input_provenance == usage.output_provenance == "none":
            return "", None
        priced = self.at(exchange.upstream, exchange.upstream_model, exchange.received_at)
        return ("", None) if priced is None else (priced.version, bill(priced, usage)[0])

    def _find(self, upstream: str, model: str) -> list[tuple[int, Priced]]:
        full = f"{upstream}/{model}"
        for name in (full, model):
            if name in self._named and not name.endswith("*"):
                return self._named[name]
        for name in self._stars:
            if full.startswith(name[:-1]) or model.startswith(name[:-1]):
                return self._named[name]
        return []


def tariff(kept: Kept) -> _native.Tariff:
    """Give the arithmetic of a price."""
    price = kept.price
    base = _rates(price, price)
    tiers = [(tier.above, _rates(tier, price)) for tier in price.tiers]
    credit = (kept.credits.per_dollar, kept.credits.rounding) if kept.credits is not None else None
    return _native.Tariff(base, tiers, credit)


def bill(priced: Priced, usage: Usage) -> tuple[int, int | None]:
    """Give the nano-dollars and credits of a request. One that came to nothing countable costs nothing."""
    tokens = usage.tokens
    if usage.input_provenance == usage.output_provenance == "none":
        return 0, None if priced.tariff.bill(0, 0, 0, 0, 0)[1] is None else 0
    return priced.tariff.bill(tokens.input, tokens.output, tokens.cached_input, tokens.cache_write, tokens.reasoning)


def priced_again(version: str, text: str) -> Priced:
    """Give a price back as the store has kept it. Raises ValueError."""
    try:
        return Priced(version, tariff(msgspec.json.decode(text, type=Kept)))
    except (msgspec.DecodeError, OverflowError) as error:
        raise ValueError("not a price") from error


def _rates(said: Price | PriceTier, price: Price) -> _Six:
    """What a price or a tier says; else what the price says; else what the input or the output costs."""
    own_input = price.input if said.input is None else said.input
    own_output = price.output if said.output is None else said.output
    return (
        own_input,
        own_output,
        _first(said.cached_input, price.cached_input, own_input),
        _first(said.cache_write, price.cache_write, own_input),
        _first(said.reasoning, price.reasoning, own_output),
        price.request,
    )


def _first(own: int | None, base: int | None, otherwise: int) -> int:
    return own if own is not None else base if base is not None else otherwise


def _since(known: tuple[int, Priced]) -> int:
    return known[0]
