"""What has been spent before an authority began, from the sums of days that the store keeps."""

from __future__ import annotations

from datetime import UTC, datetime
import logging
from typing import TYPE_CHECKING, Final

from sluicegate._native import units
from sluicegate.limits.lease import Kind, Limit, Scope
from sluicegate.limits.windows import Period, window
from sluicegate.store.interface import FIGURES, GROUPS, StoreError
from sluicegate.store.open import make_store

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sluicegate.config import Settings
    from sluicegate.limits.authority import Authority
    from sluicegate.store.interface import Row

_COLUMNS: Final = (*GROUPS, *FIGURES)
_DAY: Final = _COLUMNS.index("day")
_OWNERS: Final[tuple[tuple[Scope, int], ...]] = (
    ("key", _COLUMNS.index("caller")),
    ("group", _COLUMNS.index("caller_group")),
    ("model", _COLUMNS.index("model")),
)
_SUMS: Final[tuple[tuple[Kind, int], ...]] = (
    ("dollars", _COLUMNS.index("cost")),
    ("credits", _COLUMNS.index("credits")),
)
_PERIODS: Final[tuple[Period, ...]] = ("day", "week", "month")

_log = logging.getLogger(__name__)


def recall(settings: Settings, authority: Authority, wall: float) -> None:
    """Tell an authority that begins what everybody has spent in the present windows, as the store knows it. Blocks.

    Everybody, whoever has a budget now: keys in the store may have some, and budgets come with a reload. A store that
    is away leaves them at nothing, and says so in the log.
    """
    store = make_store(settings.store)
    if store is None:
        return
    try:
        store.open()
        try:
            rows = store.daily(min(_day(window(period, wall).start) for period in _PERIODS), _day(wall))
        finally:
            store.close()
    except StoreError as error:
        _log.warning("budgets: what has been spent is not known, they begin at nothing: %s", error)
        return
    for (name, start), spent in _spent(rows, wall).items():
        authority.remember(name, start, spent)


def _spent(rows: Iterable[Row], wall: float) -> dict[tuple[str, int], int]:
    """Sum what was spent, by the name of the limit it would count for and the start of its window."""
    found: dict[tuple[str, int], int] = {}
    starts = [(period, start := window(period, wall).start, _day(start)) for period in _PERIODS]
    for row in rows:
        for period, start, since in starts:
            if str(row[_DAY]) < since:
                continue
            for scope, column in _OWNERS:
                for kind, figure in _SUMS:
                    if (owner := row[column]) and (spent := units(row[figure])):
                        name = Limit(scope, str(owner), kind, period, 0).name
                        found[name, start] = found.get((name, start), 0) + spent
    return found


def _day(wall: float) -> str:
    return datetime.fromtimestamp(wall, UTC).date().isoformat()
