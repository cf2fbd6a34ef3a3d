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
    requests: Share | None = None
    tokens: Share | None = None
    for share in shares:
        if share.kind == "requests":
            if requests is None or share.remaining(now) < requests.remaining(now):
                requests = share
        elif share.kind == "tokens" and (tokens is None or share.remaining(now) < tokens.remaining(now)):
            tokens = share
    if tokens is None:
        return _lines(requests, now) if requests is not None else ""
    return (_lines(requests, now) if requests is not None else "") + _lines(tokens, now)


def _lines(share: Share, now: float) -> str:
    # Seconds are rounded up without a call: this runs for each answer.
    seconds = -int((now - share.ends) // 1) if share.ends > now else 0
    kind = share.kind
    return (
        f"\r\nx-ratelimit-limit-{kind}: {share.limit.capacity}"
        f"\r\nx-ratelimit-remaining-{kind}: {share.remaining(now)}"
        f"\r\nx-ratelimit-reset-{kind}: {seconds}s"
    )


def rate_headers(shares: Sequence[Share], now: float) -> dict[str, str]:
    """Give what :func:`rate_lines` writes by name, for an error's headers."""
    return dict(line.split(": ", 1) for line in rate_lines(shares, now).split("\r\n") if line)
