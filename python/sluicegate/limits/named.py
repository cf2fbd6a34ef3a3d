"""The limits that an allowance comes to, and how they are told to clients."""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import TYPE_CHECKING, Final

from sluicegate.limits.lease import LARGEST, Limit, Scope, Share

if TYPE_CHECKING:
    from sluicegate.config import Allowance


_HEADERS: Final = {
    kind: tuple(f"x-ratelimit-{what}-{kind}" for what in ("limit", "remaining", "reset"))
    for kind in ("requests", "tokens")
}


def limits(scope: Scope, owner: str, allowance: Allowance) -> list[Limit]:
    """Give what an allowance limits."""
    found = []
    if allowance.requests_per_minute is not None:
        found.append(Limit(scope, owner, "requests", "minute", allowance.requests_per_minute))
    if allowance.tokens_per_minute is not None:
        found.append(Limit(scope, owner, "tokens", "minute", allowance.tokens_per_minute))
    if allowance.concurrent_streams is not None:
        found.append(Limit(scope, owner, "streams", "level", allowance.concurrent_streams))
    for budget in allowance.budgets:
        if budget.dollars is not None:
            found.append(Limit(scope, owner, "dollars", budget.per, min(budget.dollars, LARGEST)))
        if budget.credits is not None:
            found.append(Limit(scope, owner, "credits", budget.per, budget.credits))
    return found


def rate_headers(shares: Sequence[Share], now: float) -> list[tuple[str, str]]:
    """Write ``x-ratelimit-{limit,remaining,reset}-{requests,tokens}``: of several limits, the one with least left.

    A reset is written as OpenAI writes it, a Go duration of whole seconds.
    """
    headers: list[tuple[str, str]] = []
    for kind, names in _HEADERS.items():
        tightest, least = None, 0
        for share in shares:
            if share.kind == kind:
                left = share.remaining(now)
                if tightest is None or left < least:
                    tightest, least = share, left
        if tightest is not None:
            reset = math.ceil(tightest.ends - now) if tightest.ends > now else 0
            values = (str(tightest.limit.capacity), str(least), f"{reset}s")
            headers += zip(names, values, strict=True)
    return headers
