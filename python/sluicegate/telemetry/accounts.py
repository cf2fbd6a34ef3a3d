"""The ledger's own series, as the writer and the spool move them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluicegate.telemetry.series import LEDGER_LATE, LEDGER_LOST, LEDGER_ROWS, LEDGER_SPOOL, LEDGER_STORE

if TYPE_CHECKING:
    from collections.abc import Callable

    from sluicegate.telemetry.metrics import Metrics


class LedgerMetrics:
    """Counts what becomes of rows. Every method is safe from any thread."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._bank = bank = metrics.bank
        self._rows = bank.slot(LEDGER_ROWS.name)
        self._spool = bank.slot(LEDGER_LOST.name, "spool")
        self._damaged = bank.slot(LEDGER_LOST.name, "damaged")
        self._store = bank.slot(LEDGER_STORE.name)

    def rows_written(self, rows: int) -> None:
        """So many rows are in the store."""
        self._bank.add(self._rows, rows)

    def rows_lost(self, rows: int) -> None:
        """So many rows were given up: the spool took none."""
        self._bank.add(self._spool, rows)

    def rows_damaged(self, records: int) -> None:
        """So many records could not be read."""
        self._bank.add(self._damaged, records)

    def store_answers(self, answers: bool) -> None:  # noqa: FBT001  # the one thing it says
        """Whether the store did what it was last asked."""
        self._bank.set(self._store, int(answers))

    def watch(self, used: Callable[[], int], late: Callable[[], int]) -> None:
        """Show what a spool says of itself."""
        self._metrics.watch(LEDGER_SPOOL, lambda: {(): used()})
        self._metrics.watch(LEDGER_LATE, lambda: {(): late()})
