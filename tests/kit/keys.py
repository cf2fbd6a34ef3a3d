"""Keys in a gateway's store, as an operator makes them from beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sluicegate.access.register import Register, with_register
from sluicegate.config import load
from sluicegate.store.open import make_store


def with_keys(file: Path, work: Callable[[Register], Any]) -> Any:
    """Does something with the keys of the store that a configuration names; its file is beside it."""
    settings = load(file, {})
    store = settings.store
    if store.kind == "sqlite":
        store = type(store)("sqlite", str(file.parent / store.path))
    return with_register(settings, make_store(store), work)


async def beside(file: Path, work: Callable[[Register], Any]) -> Any:
    """The same, in a thread."""
    return await asyncio.to_thread(with_keys, file, work)
