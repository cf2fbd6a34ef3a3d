"""What a record of the store says, as settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from sluicegate.config import Problem, StoredKey, read_stored_key

if TYPE_CHECKING:
    from sluicegate.store.keys import KeyRecord


def stored_key(record: KeyRecord) -> tuple[StoredKey, tuple[Problem, ...]]:
    """Read what a record says of its key; with problems, from a newer version perhaps, it must not be used."""
    try:
        return read_stored_key(written(record))
    except msgspec.DecodeError:
        return StoredKey(name=record.name), (Problem("limits", "are not JSON"),)


def written(record: KeyRecord) -> dict[str, Any]:
    """Give what was said of a key when it was made or changed, but for when it expires. Raises DecodeError."""
    said: dict[str, Any] = {"name": record.name, "models": msgspec.json.decode(record.models)}
    if record.key_group:
        said["group"] = record.key_group
    return said | msgspec.json.decode(record.limits, type=dict[str, Any])
