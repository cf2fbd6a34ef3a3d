"""The store that is configured."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from sluicegate.store.interface import Store, StoreError
from sluicegate.store.sqlite import Sqlite

if TYPE_CHECKING:
    from sluicegate.config.values import StoreUrl


def make_store(url: StoreUrl, *, create: bool = True) -> Store | None:
    """Give the store of an address, not opened yet; None for ``none``. ``create=False``: its file must be there.

    Raises StoreError if what it needs is not installed.
    """
    if url.kind == "sqlite":
        return Sqlite(url.path, create=create)
    if url.dsn is None:
        return None
    try:
        postgres = import_module("sluicegate.store.postgres")
    except ModuleNotFoundError as error:
        raise StoreError(f"{error.name} is missing: install sluicegate[postgres]") from error
    return cast("Store", postgres.Postgres(url.dsn.reveal()))
