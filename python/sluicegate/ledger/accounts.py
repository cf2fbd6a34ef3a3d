"""The ledger of a process that has both ends of it: a spool of its own, and the writer that drains the folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sluicegate.config import ConfigError, Problem
from sluicegate.ledger.book import Ledger
from sluicegate.ledger.writer import Writer
from sluicegate.store.interface import StoreError
from sluicegate.store.open import make_store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sluicegate.config import Settings
    from sluicegate.telemetry.accounts import LedgerMetrics

#: Seconds that the writer gets at the end; what it has not carried then, the next one will.
_LAST_WORDS = 5.0


class Accounts:
    """A spool and its writer, both running."""

    def __init__(self, ledger: Ledger, writer: Writer) -> None:
        self.ledger = ledger
        self._writer = writer

    def close(self) -> None:
        """Let go of the spool, and carry what is in it. Blocks, 5 s at most and as long as the disk does."""
        self.ledger.close()
        self._writer.stop(_LAST_WORDS)


def open_accounts(
    settings: Settings, prices: Callable[[], Mapping[str, str]], metrics: LedgerMetrics
) -> Accounts | None:
    """Start the ledger that is configured; None where there is none. Raises ConfigError.

    ``prices`` tells, from any thread, every price that a row may name, by its version.

    A store in a file must open now. One on a server may be away: rows wait for it.
    """
    folder = Path(settings.ledger.folder)
    try:
        store = make_store(settings.store)
        if store is None:
            return None
        if settings.store.kind == "sqlite":
            store.open()
    except StoreError as error:
        raise ConfigError("the store", (Problem("store", f"cannot be used: {error}"),)) from None
    try:
        ledger = Ledger(settings.ledger, metrics.rows_lost)
    except OSError as error:
        problem = Problem("ledger.folder", f"{folder} cannot be written: {error.strerror}")
        raise ConfigError("the ledger", (problem,)) from None
    metrics.watch(lambda: ledger.spool.used, lambda: ledger.spool.late)
    writer = Writer(folder, store, retention=settings.ledger.retention, prices=prices, written=metrics)
    writer.start()
    return Accounts(ledger, writer)
