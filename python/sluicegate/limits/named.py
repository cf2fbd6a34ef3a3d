"""The limits that an allowance comes to, and how they are told to clients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from sluicegate.limits.lease import LARGEST, Limit, Scope, Share

if TYPE_CHECKING:
    from sluicegate.config import Allowance


_HEADERS: Final = tuple(
    (kind, f"x-ratelimit-limit-{kind}", f"x-ratelimit-remaining-{kind}", f"x-ratelimit-reset-{kind}")
    for kind in ("requests", "tokens")
)


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
    for kind, limit, remaining, reset in _HEADERS:
        tightest, least = None, 0
        for share in shares:
            if share.kind == kind:
                left = share.remaining(now)
                if tightest is None or left < least:
                    tightest, least = share, left
        if tightest is not None:
            # Seconds rounded up, without a call: this runs once for each answer.
            seconds = -int((now - tightest.ends) // 1) if tightest.ends > now else 0
            headers.append((limit, str(tightest.limit.capacity)))
            headers.append((remaining, str(least)))
            headers.append((reset, f"{seconds}s"))
    return headers
