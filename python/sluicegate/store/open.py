"""The store that is configured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluicegate.store.sqlite import Sqlite

if TYPE_CHECKING:
    from sluicegate.config.values import StoreUrl
    from sluicegate.store.interface import Store


def make_store(url: StoreUrl, *, create: bool = True) -> Store | None:
    """Give the store of an address, not opened yet; None for ``none``. ``create=False``: its file must be there."""
    if url.kind == "sqlite":
        return Sqlite(url.path, create=create)
    return None
