"""``GET {prefix}/usage``: what the caller's own key has used, from the store's sums of days.

Rules: a thread of its own asks the store, with a connection of its own, so that a slow or dead store costs nobody else
anything; few wait for it, each a few seconds at most.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

import msgspec

from sluicegate.errors import BadRequest, Overloaded
from sluicegate.ledger.report import own_usage
from sluicegate.store.interface import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sluicegate.store.interface import Store

#: What a caller may group by: its own requests' day and model, not where they went.
_GROUPINGS: Final = ("day", "model")
#: Days that are summed unless the caller says otherwise, and at most.
_DAYS, _MOST_DAYS = 30, 366
#: Seconds that one answer may take, and how many may wait at a time.
_PATIENCE, _QUEUE = 5.0, 32
_UNKNOWN: Final = "The query may hold `by`, `since` and `until`, each once."


class _Asked(msgspec.Struct, frozen=True):
    """Which days are wanted, both included, and by what they are summed."""

    by: tuple[str, ...]
    since: date
    until: date


class UsageDesk:
    """Answers callers. ``store`` makes the store, not opened yet; None where there is none."""

    def __init__(self, store: Callable[[], Store | None]) -> None:
        self._make = store
        self._store: Store | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._waiting = 0

    async def answer(self, caller: str, query: str) -> bytes:
        """Sum what a caller has used. Raises BadRequest or Overloaded (``usage_unavailable``)."""
        asked = _read(query, datetime.now(UTC).date())
        if self._waiting >= _QUEUE:
            raise _unavailable()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "usage")
        answering = asyncio.get_running_loop().run_in_executor(self._thread, self._ask, caller, asked)
        self._waiting += 1
        answering.add_done_callback(self._answered)
        try:
            async with asyncio.timeout(_PATIENCE):
                return await asyncio.shield(answering)
        except (StoreError, TimeoutError):
            raise _unavailable() from None

    def close(self) -> None:
        """Ask no more. Does not wait for an answer that is on its way."""
        if self._thread is not None:
            self._thread.submit(self._close)
            self._thread.shutdown(wait=False, cancel_futures=False)
            self._thread = None

    def _answered(self, answering: asyncio.Future[bytes]) -> None:
        self._waiting -= 1
        if not answering.cancelled():
            answering.exception()  # whoever waited has been told; nobody may have

    def _ask(self, caller: str, asked: _Asked) -> bytes:
        """Ask the store, in the thread."""
        if self._store is None:
            self._store = self._make()
        if self._store is None:
            raise StoreError("there is none")
        try:
            self._store.open()
            found = own_usage(self._store, caller, asked.by, asked.since.isoformat(), asked.until.isoformat())
        except StoreError:
            self._store.close()
            raise
        days = {"since": asked.since.isoformat(), "until": asked.until.isoformat()}
        return msgspec.json.encode({"object": "list", "data": found, **days})

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()


def _read(query: str, today: date) -> _Asked:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=8)
    except ValueError:
        raise BadRequest("invalid_value", _UNKNOWN) from None
    said = dict(pairs)
    if len(said) < len(pairs) or not said.keys() <= {"by", "since", "until"}:
        raise BadRequest("invalid_value", _UNKNOWN)
    by = tuple(said.get("by", "day,model").split(","))
    if not set(by) <= set(_GROUPINGS) or len(set(by)) < len(by):
        raise BadRequest("invalid_value", f"`by` is made of {' and '.join(_GROUPINGS)}, each once.", param="by")
    until = _day(said, "until", today)
    since = _day(said, "since", until - timedelta(days=_DAYS - 1))
    if not timedelta(0) <= until - since < timedelta(days=_MOST_DAYS):
        message = f"`since` is not before `until` by 0 to {_MOST_DAYS - 1} days."
        raise BadRequest("invalid_value", message, param="since")
    return _Asked(by, since, until)


def _day(said: dict[str, str], name: str, otherwise: date) -> date:
    if name not in said:
        return otherwise
    try:
        day = date.fromisoformat(said[name])
    except ValueError:
        day = date.min
    if day.year < 2000:  # noqa: PLR2004  # nobody used anything then, and dates before have no days before them
        raise BadRequest("invalid_value", f"`{name}` is a day (UTC), such as 2026-01-31.", param=name)
    return day


def _unavailable() -> Overloaded:
    message = "The gateway cannot look up now what was used; please try again."
    return Overloaded("usage_unavailable", message, headers={"retry-after": "5"})
