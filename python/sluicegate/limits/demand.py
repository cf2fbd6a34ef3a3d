"""What a request asks of each kind of limit: reserved at its admission by estimate, settled at its end by its record.

Rules: pure. An estimate may be wrong, a record may not: where an upstream said nothing, the estimate of what reached it
stands, so that nobody gets tokens for nothing by leaving early.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from sluicegate.exchange import Tokens
from sluicegate.limits.lease import LARGEST, Kind, units

if TYPE_CHECKING:
    from sluicegate.exchange import Exchange, Usage

#: Bytes of a request's JSON for one token of its prompt: English text has 4.5 characters to a token, other tongues and
#: code fewer, and JSON adds its own.
_BYTES_PER_TOKEN: Final = 4


class Cost(msgspec.Struct, frozen=True):
    """What tokens cost: nano-dollars and credits."""

    dollars: int = 0
    credits: int = 0


#: What everything costs where nothing has a price.
FREE: Final = Cost()


class Demand(msgspec.Struct, frozen=True):
    """What a request reserves: its prompt by its bytes, and the most it may write."""

    prompt: int
    output: int
    stream: bool
    cost: Cost

    def of(self, kind: Kind) -> int:
        """Units of one kind of limit; 0 where the request does not need any."""
        match kind:
            case "requests":
                return 1
            case "tokens":
                return self.prompt + self.output
            case "streams":
                return int(self.stream)
            case "dollars":
                return self.cost.dollars
            case "credits":
                return self.cost.credits


def estimate(size: int, asked: int | None, most: int | None, default: int, choices: int) -> Tokens:
    """Estimate a request's tokens from its body's size in bytes and what it may write.

    ``asked`` is its own ``max_tokens``, ``most`` the model's ``max_output``, which is the most it gets either way;
    ``default`` stands where neither is known. Each of several ``choices`` may be that long.
    """
    output = asked if asked is not None else most if most is not None else default
    if most is not None:
        output = min(output, most)
    return Tokens(input=size // _BYTES_PER_TOKEN + 1, output=min(output * choices, LARGEST))


def used(exchange: Exchange, demand: Demand) -> Tokens:
    """Say what an exchange that has ended has used, all its attempts together."""
    if exchange.dispatched is None:
        return Tokens()
    total = Tokens()
    for attempt in exchange.attempts:
        reached = attempt.decisive and exchange.status in _REACHED
        said = _said(attempt.usage, demand, exchange.events if reached else -1)
        total = Tokens(
            input=total.input + said.input,
            output=total.output + said.output,
            cached_input=total.cached_input + said.cached_input,
            cache_write=total.cache_write + said.cache_write,
            reasoning=total.reasoning + said.reasoning,
        )
    return total


#: Statuses under which an upstream worked on a request though it may not have said how much: a client that left is 499.
_REACHED: Final = frozenset({200, 499})


def _said(usage: Usage, demand: Demand, events: int) -> Tokens:
    """Give an attempt's figures; with ``events`` of at least 0, estimates in the place of what was not said."""
    said = usage.tokens
    known_input, known_output = usage.input_provenance != "none", usage.output_provenance != "none"
    return Tokens(
        input=units(said.input) if known_input else demand.prompt if events >= 0 else 0,
        output=units(said.output) if known_output else min(max(0, events), demand.output),
        cached_input=units(said.cached_input),
        cache_write=units(said.cache_write),
        reasoning=units(said.reasoning),
    )
