"""The limits that an allowance comes to, and how they are told to clients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sluicegate.limits.lease import LARGEST, Limit, Scope, Share

if TYPE_CHECKING:
    from sluicegate.config import Allowance


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


def rate_lines(shares: Sequence[Share], now: float) -> str:
    """Write ``x-ratelimit-{limit,remaining,reset}-{requests,tokens}``: of several limits, the one with least left.

    Each stands as a line of a head, with its CRLF before it. A reset is written as OpenAI writes it, a Go duration of
    whole seconds.
    """
    lines = ""
    for kind in ("requests", "tokens"):
        tightest, least = None, 0
        for share in shares:
            if share.kind == kind:
                left = share.remaining(now)
                if tightest is None or left < least:
                    tightest, least = share, left
        if tightest is not None:
            # Seconds rounded up, without a call: this runs once for each answer.
            seconds = -int((now - tightest.ends) // 1) if tightest.ends > now else 0
            lines += (
                f"\r\nx-ratelimit-limit-{kind}: {tightest.limit.capacity}"
                f"\r\nx-ratelimit-remaining-{kind}: {least}"
                f"\r\nx-ratelimit-reset-{kind}: {seconds}s"
            )
    return lines


def rate_headers(shares: Sequence[Share], now: float) -> dict[str, str]:
    """Give what :func:`rate_lines` writes by name, for an error's headers."""
    return dict(line.split(": ", 1) for line in rate_lines(shares, now).split("\r\n") if line)
