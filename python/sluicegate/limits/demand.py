"""What a request asks of each kind of limit: reserved at its admission by estimate, settled at its end by its record.

Rules: pure. An estimate may be wrong, a record may not: where an upstream said nothing, the estimate of what reached it
stands, so that nobody gets tokens for nothing by leaving early.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sluicegate._native import units
from sluicegate.limits.lease import LARGEST

if TYPE_CHECKING:
    from sluicegate._native import Taken
    from sluicegate.exchange import Exchange

#: Bytes of a request's JSON for one token of its prompt: English text has 4.5 characters to a token, other tongues and
#: code fewer, and JSON adds its own.
_BYTES_PER_TOKEN: Final = 4


def estimate(size: int, asked: int | None, most: int | None, default: int, choices: int) -> tuple[int, int]:
    """Estimate a request's tokens, of its prompt by its body's size in bytes, and of its answer by what it may write.

    ``asked`` is its own ``max_tokens``, ``most`` the model's ``max_output``, which is the most it gets either way;
    ``default`` stands where neither is known. Each of several ``choices`` may be that long.
    """
    longest = default if most is None else most
    output = longest if asked is None or (most is not None and asked > most) else asked
    return size // _BYTES_PER_TOKEN + 1, min(output * choices, LARGEST)


def used(exchange: Exchange, taken: Taken) -> int:
    """Say how many tokens an exchange that has ended has used, all its attempts together.

    ``taken`` says what was reserved for it.
    """
    if not exchange.attempts_made:
        return 0
    total, usage = 0, exchange.usage
    reached = exchange.status in _REACHED
    if usage.input_provenance != "none":
        total += units(usage.tokens.input)
    elif reached:
        total += taken.prompt
    if usage.output_provenance != "none":
        total += units(usage.tokens.output)
    elif reached:
        total += min(exchange.events, taken.output)
    for attempt in exchange.attempts:
        if not attempt.decisive:
            usage = attempt.usage
            total += units(usage.tokens.input) * (usage.input_provenance != "none")
            total += units(usage.tokens.output) * (usage.output_provenance != "none")
    return min(total, LARGEST)


#: Statuses under which an upstream worked on a request though it may not have said how much: a client that left is 499.
_REACHED: Final = frozenset({200, 499})
