"""The limits that an allowance comes to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluicegate.limits.lease import LARGEST, Limit, Scope

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
