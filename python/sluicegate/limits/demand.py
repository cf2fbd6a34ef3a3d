"""What a request asks of each kind of limit: reserved at its admission by estimate, settled at its end by its record.

Rules: pure. An estimate may be wrong, a record may not: where an upstream said nothing, the estimate of what reached it
stands, so that nobody gets tokens for nothing by leaving early.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from sluicegate.limits.lease import LARGEST, Kind, units

if TYPE_CHECKING:
    from sluicegate.exchange import Exchange

#: Bytes of a request's JSON for one token of its prompt: English text has 4.5 characters to a token, other tongues and
#: code fewer, and JSON adds its own.
_BYTES_PER_TOKEN: Final = 4


class Demand(msgspec.Struct, frozen=True, gc=False):
    """What a request reserves: its prompt by its bytes, the most it may write, and what both cost (nano-dollars)."""

    prompt: int
    output: int
    stream: bool
    dollars: int = 0
    credits: int = 0

    def of(self, kind: Kind) -> int:
        """Units of one kind of limit; 0 where the request does not need any."""
        if kind == "requests":
            return 1
        if kind == "tokens":
            return self.prompt + self.output
        if kind == "streams":
            return int(self.stream)
        return self.dollars if kind == "dollars" else self.credits


def estimate(size: int, asked: int | None, most: int | None, default: int, choices: int) -> tuple[int, int]:
    """Estimate a request's tokens, of its prompt by its body's size in bytes, and of its answer by what it may write.

    ``asked`` is its own ``max_tokens``, ``most`` the model's ``max_output``, which is the most it gets either way;
    ``default`` stands where neither is known. Each of several ``choices`` may be that long.
    """
    output = asked if asked is not None else most if most is not None else default
    if most is not None:
        output = min(output, most)
    return size // _BYTES_PER_TOKEN + 1, min(output * choices, LARGEST)


def used(exchange: Exchange, demand: Demand) -> int:
    """Say how many tokens an exchange that has ended has used, all its attempts together."""
    total = 0
    for attempt in exchange.attempts:
        usage, tokens = attempt.usage, attempt.usage.tokens
        reached = attempt.decisive and exchange.status in _REACHED
        if usage.input_provenance != "none":
            total += units(tokens.input)
        elif reached:
            total += demand.prompt
        if usage.output_provenance != "none":
            total += units(tokens.output)
        elif reached:
            total += min(exchange.events, demand.output)
    return min(total, LARGEST)


#: Statuses under which an upstream worked on a request though it may not have said how much: a client that left is 499.
_REACHED: Final = frozenset({200, 499})
