"""What requests cost by exact decimals: the arithmetic once more, written another way than the gateway's."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal, localcontext
from typing import Any, NamedTuple

MOST = 2**63 - 1


class Figures(NamedTuple):
    """Tokens as the gateway means them: cached and cache-write are parts of input, reasoning of output."""

    input: int
    output: int
    cached_input: int = 0
    cache_write: int = 0
    reasoning: int = 0


def nano_dollars(price: Mapping[str, Any], tokens: Figures) -> int:
    """What tokens come to by a price as the configuration writes it: dollars per million, and per request."""
    tier: Mapping[str, Any] = next(
        (
            tier
            for tier in sorted(price.get("tiers", ()), key=lambda tier: -tier["above"])
            if tokens.input > tier["above"]
        ),
        {},
    )
    said = {**price, **tier}
    own_input, own_output = Decimal(said.get("input", 0)), Decimal(said.get("output", 0))
    with localcontext(prec=100):
        exact = (
            max(0, tokens.input - tokens.cached_input - tokens.cache_write) * own_input
            + tokens.cached_input * Decimal(said.get("cached_input", own_input))
            + tokens.cache_write * Decimal(said.get("cache_write", own_input))
            + max(0, tokens.output - tokens.reasoning) * own_output
            + tokens.reasoning * Decimal(said.get("reasoning", own_output))
        )
        request = int(Decimal(said.get("request", 0)) * 10**9)
        return min(int((exact * 1000).quantize(Decimal(1), ROUND_HALF_UP)) + request, MOST)


def whole_credits(nano: int, per_dollar: str, rounding: str) -> int:
    """What nano-dollars are in credits; ``rounding`` is ``up`` or ``half_up``."""
    rule = {"up": ROUND_CEILING, "half_up": ROUND_HALF_UP}[rounding]
    with localcontext(prec=100):
        return min(int((nano * Decimal(per_dollar) / 10**9).quantize(Decimal(1), rule)), MOST)
