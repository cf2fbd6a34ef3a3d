"""What budgets have spent before this process began, from the sums of days that the store keeps."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
import logging
from typing import TYPE_CHECKING, Final

from sluicegate.limits.lease import Limit, units
from sluicegate.limits.named import limits
from sluicegate.limits.windows import window
from sluicegate.store.interface import FIGURES, GROUPS, StoreError
from sluicegate.store.open import make_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sluicegate.config import Settings
    from sluicegate.limits.authority import Authority
    from sluicegate.store.interface import Row

_COLUMNS: Final = (*GROUPS, *FIGURES)
_DAY: Final = _COLUMNS.index("day")
_OWNER: Final = {
    "key": _COLUMNS.index("caller"),
    "group": _COLUMNS.index("caller_group"),
    "model": _COLUMNS.index("model"),
}
_FIGURE: Final = {"dollars": _COLUMNS.index("cost"), "credits": _COLUMNS.index("credits")}

_log = logging.getLogger(__name__)


def recall(settings: Settings, authority: Authority, wall: float) -> None:
    """Tell an authority that begins what each budget has spent in its present window, as the store knows it. Blocks.

    A store that is away leaves budgets at nothing, and says so in the log.
    """
    budgets = [limit for limit in _limits(settings) if limit.kind in _FIGURE]
    store = make_store(settings.store) if budgets else None
    if store is None:
        return
    since = min(_day(window(limit.period, wall).start) for limit in budgets)
    try:
        store.open()
        try:
            rows = store.daily(since, _day(wall))
        finally:
            store.close()
    except StoreError as error:
        _log.warning("budgets: what they have spent is not known, they begin at nothing: %s", error)
        return
    for limit in budgets:
        start = window(limit.period, wall).start
        authority.remember(limit.name, start, _sum(limit, rows, start))


def _sum(limit: Limit, rows: Sequence[Row], start: int) -> int:
    since, owner, figure = _day(start), _OWNER[limit.scope], _FIGURE[limit.kind]
    found = sum(units(row[figure]) for row in rows if row[owner] == limit.owner and str(row[_DAY]) >= since)
    return units(found)


def _limits(settings: Settings) -> Iterator[Limit]:
    for key in settings.keys:
        yield from limits("key", key.name, key)
    for name, group in settings.groups.items():
        yield from limits("group", name, group)
    for name, model in settings.models.items():
        yield from limits("model", name, model.limits)


def _day(wall: float) -> str:
    return datetime.fromtimestamp(wall, UTC).date().isoformat()
