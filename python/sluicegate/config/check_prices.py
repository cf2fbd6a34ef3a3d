"""What prices must not say because of each other, and who must have one.

Rules: as in :mod:`sluicegate.config.check`.
"""

from __future__ import annotations

from collections.abc import Iterable

from sluicegate.config.accounts import Price
from sluicegate.config.model import Settings
from sluicegate.config.read import Problems, child, is_read
from sluicegate.config.values import shown


def check_prices(settings: Settings, problems: Problems) -> None:
    """Note what is wrong with prices, tiers and ``require_price``."""
    first: dict[tuple[str, int], int] = {}
    for i, price in enumerate(settings.prices):
        if is_read(price.model) and (before := first.setdefault((price.model, price.since), i)) != i:
            problems.add(f"prices[{i}]", f"is of the same target and the same date as prices[{before}]; leave one out")
        above = [tier.above for tier in price.tiers if is_read(tier.above)]
        if len(set(above)) != len(above):
            problems.add(f"prices[{i}].tiers", "has two tiers above the same number of tokens; leave one out")
    if settings.require_price:
        _check_priced(settings, problems)


def _check_priced(settings: Settings, problems: Problems) -> None:
    for name, model in settings.models.items():
        for i, target in enumerate(model.targets):
            if (
                is_read(target.model)
                and "*" not in target.model
                and not priced(settings.prices, target.upstream, target.model)
            ):
                problems.add(
                    f"{child('models', name)}.targets[{i}]",
                    f"has no price, and require_price is set; add one, such as "
                    f"{{model: {shown(f'{target.upstream}/{target.model}')}, input: 0.15, output: 0.60}}",
                )


def priced(prices: Iterable[Price], upstream: str, model: str) -> bool:
    """Whether some price is a target's, at whatever time."""
    return any(fits(price.model, upstream, model) for price in prices)


def fits(name: str, upstream: str, model: str) -> bool:
    """Whether a price's name is that of a target: ``upstream/model``, the model's alone, or either up to a ``*``."""
    full = f"{upstream}/{model}"
    if name.endswith("*"):
        return full.startswith(name[:-1]) or model.startswith(name[:-1])
    return name in (full, model)
