"""What limits and budgets must not say, and what of them may not be meant."""

from __future__ import annotations

from collections.abc import Iterator

from sluicegate.config.allowances import Allowance
from sluicegate.config.model import Settings
from sluicegate.config.read import Problems, child, is_read


def check_allowances(settings: Settings, problems: Problems) -> None:
    """Note what is wrong with budgets."""
    for path, allowance in _allowances(settings):
        seen: dict[tuple[str, str], int] = {}
        for i, budget in enumerate(allowance.budgets):
            at = f"{path}.budgets[{i}]"
            if not is_read(budget) or problems.below(at):
                continue
            if (budget.dollars is None) == (budget.credits is None):
                problems.add(at, "must say either dollars or credits, such as {dollars: 25, per: month}")
                continue
            unit = "dollars" if budget.credits is None else "credits"
            if budget.dollars == 0:
                problems.add(
                    f"{at}.dollars", "0 allows nothing that costs anything; leave models out of `models` instead"
                )
            if unit == "credits" and settings.credits is None:
                problems.add(f"{at}.credits", "nothing is billed in credits; write `credits` with its rate, or dollars")
            if (before := seen.setdefault((unit, budget.per), i)) != i:
                problems.add(at, f"limits what budgets[{before}] does; leave the higher one out")


def warnings(settings: Settings) -> Iterator[str]:
    """Yield what may be meant, and is worth a second look."""
    reserve = settings.reserve_default
    for path, allowance in _allowances(settings):
        tokens = allowance.tokens_per_minute
        if tokens is not None and tokens <= reserve:
            yield (
                f"{path}.tokens_per_minute: a request that says no max_tokens reserves {reserve:,} (reserve_default), "
                f"all of these {tokens:,}, so that such requests are served one at a time"
            )
        if allowance.budgets and not settings.prices:
            yield f"{path}.budgets: nothing has a price, so that nothing is ever spent; write `prices`"


def _allowances(settings: Settings) -> Iterator[tuple[str, Allowance]]:
    for i, key in enumerate(settings.keys):
        yield f"keys[{i}]", key
    for name, group in settings.groups.items():
        yield child("groups", name), group
    for name, model in settings.models.items():
        yield f"{child('models', name)}.limits", model.limits
