"""How many retries an upstream is sent."""

from __future__ import annotations

from sluicegate.policy.budget import Budget


def spent(budget: Budget) -> int:
    count = 0
    while budget.spend():
        count += 1
    return count


def test_a_quiet_upstream_has_ten() -> None:
    assert spent(Budget(0.2)) == 10


def test_then_a_part_of_its_requests() -> None:
    budget = Budget(0.25)
    spent(budget)
    for _ in range(16):
        budget.earn()
    assert spent(budget) == 4


def test_what_is_not_spent_is_not_hoarded() -> None:
    budget = Budget(1.0)
    for _ in range(1000):
        budget.earn()
    assert spent(budget) == 10


def test_a_budget_of_nothing_allows_nothing() -> None:
    budget = Budget(0.0)
    budget.earn()
    assert spent(budget) == 0
