"""Carries every spool of a folder into the store, in a thread of its own.

Rules of this file:

- One writer per folder, whoever holds its lock; others wait for it. So it does not matter which process drains which
  spool: a worker alone does its own, a supervisor those of all workers, a successor those of the dead.
- A store that is away costs nobody anything but room in the spool: the writer tries again, every five seconds at most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import logging
import os
from pathlib import Path
import threading
import time
from typing import Protocol

from sluicegate.ledger import segments
from sluicegate.ledger.drain import Drain
from sluicegate.store.interface import Store, StoreError

#: Seconds between two looks at the spools while there is little to do: rows are there within a second, and each commit
#: waits for the disk.
_LOOK = 0.5
#: Seconds before a store that failed is asked again, the first time and at most.
_AGAIN, _AGAIN_AT_MOST = 0.5, 5.0
#: Seconds between two looks for rows that are too old.
_HOUR = 3600.0
_DAY = 86_400

_log = logging.getLogger(__name__)


class Written(Protocol):
    """What the writer has done; methods are called from its thread."""

    def rows_written(self, rows: int) -> None:
        """So many rows are in the store."""

    def rows_damaged(self, records: int) -> None:
        """So many records could not be read."""

    def store_answers(self, answers: bool) -> None:  # noqa: FBT001  # the one thing it says
        """Whether the store did what it was last asked."""


class Writer:
    """Drains ``folder`` into ``store`` from :meth:`start` to :meth:`stop`.

    ``retention`` in days; ``prices`` by version are kept beside the rows.
    """

    def __init__(
        self,
        folder: Path,
        store: Store,
        *,
        retention: int,
        prices: Callable[[], Mapping[str, str]],
        written: Written,
    ) -> None:
        self._folder = folder
        self._store = store
        self._retention = retention
        self._prices = prices
        self._remembered: Mapping[str, str] | None = None
        self._written = written
        self._drains: dict[str, Drain] = {}
        self._lock: int | None = None
        self._expired = -_HOUR
        self._answers = True
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Carry what is there and end; whether that was done within ``timeout`` seconds."""
        self._stopping.set()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def drain(self) -> bool:
        """Carry what one look at every spool brings; whether there is more. Raises StoreError and OSError."""
        if self._lock is None:
            self._lock = segments.take_writer_lock(self._folder)
            if self._lock is None:
                return False
        self._store.open()
        self._remember_prices()
        more = [self._carry(spool) for spool in segments.instances(self._folder)]
        self._expire()
        return any(more)

    def _carry(self, spool: Path) -> bool:
        drain = self._drains.setdefault(spool.name, Drain(spool, self._store))
        rows, damaged = drain.rows, drain.damaged
        try:
            return drain.step()
        finally:
            if drain.rows > rows:
                self._written.rows_written(drain.rows - rows)
            if drain.damaged > damaged:
                self._written.rows_damaged(drain.damaged - damaged)
            if drain.gone:
                del self._drains[spool.name]

    def _remember_prices(self) -> None:
        prices = self._prices()
        if prices is not self._remembered:
            self._store.remember_prices(prices)
            self._remembered = prices

    def _expire(self) -> None:
        if time.monotonic() - self._expired >= _HOUR:
            self._store.expire(int((time.time() - self._retention * _DAY) * 1e6))
            self._expired = time.monotonic()

    def _run(self) -> None:
        pause, again = 0.0, _AGAIN
        while not self._stopping.wait(pause):
            try:
                pause, again = (0.0 if self.drain() else _LOOK), _AGAIN
                self._tell(None)
            except (StoreError, OSError) as error:
                self._tell(error)
                self._store.close()
                pause, again = again, min(again * 2, _AGAIN_AT_MOST)
        self._finish()

    def _finish(self) -> None:
        """Carry what is left, and let go."""
        try:
            while self.drain():
                pass
        except (StoreError, OSError) as error:
            self._tell(error)
        self._store.close()
        if self._lock is not None:
            os.close(self._lock)

    def _tell(self, error: Exception | None) -> None:
        answers = error is None
        if answers != self._answers:
            self._answers = answers
            if error is not None:
                _log.error("the store is away, rows wait in %s: %s", self._folder, error)
            else:
                _log.warning("the store is back")
        self._written.store_answers(answers)
