"""What stores keep of keys, and what can be done with that; never a key itself.

Rules: as in :mod:`sluicegate.store.interface`. A change says which version it was made from, so that of two at the same
time one is told that it came late.
"""

from __future__ import annotations

from typing import Protocol

import msgspec


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One key. Times are microseconds since 1970; ``models`` and ``limits`` are JSON.

    ``digest`` is BLAKE2b-256 in hexadecimal; ``former`` the one before the last rotation, good until ``former_until``.
    """

    name: str
    version: int = 0
    digest: str
    shown: str
    former: str = ""
    former_until: int = 0
    key_group: str = ""
    models: str = '["*"]'
    limits: str = "{}"
    created: int
    rotated: int | None = None
    expires: int | None = None
    revoked: int | None = None


#: The columns, in the order of a record's fields.
KEY_COLUMNS: tuple[str, ...] = KeyRecord.__struct_fields__


class KeyStore(Protocol):
    """Where keys are kept. Every method raises StoreError."""

    def open(self) -> None:
        """Connect, and bring the tables to this version. Does nothing while connected."""

    def keys_version(self) -> int:
        """Give the version of the last change; 0 if there never was a key."""

    def keys(self, after: int) -> list[KeyRecord]:
        """Give the keys that were changed after a version, in the order of their changes."""

    def write_key(self, record: KeyRecord, before: int) -> bool:
        """Write a key, of which ``before`` is the version that was read, 0 for a new one.

        False: somebody else has changed it since, or the name is taken. The record's own version is not looked at.
        """

    def close(self) -> None:
        """Disconnect. May be called twice."""


def key_record(values: tuple[object, ...]) -> KeyRecord:
    """Give the record of a row of KEY_COLUMNS."""
    return msgspec.convert(dict(zip(KEY_COLUMNS, values, strict=True)), KeyRecord)


def key_values(record: KeyRecord, version: int) -> tuple[str | int | None, ...]:
    """Give a record's values as of a version, in the order of KEY_COLUMNS."""
    return msgspec.structs.astuple(msgspec.structs.replace(record, version=version))


#: Writes a key's row whole; ``{values}`` are placeholders.
PUT_KEY = (
    f"INSERT INTO keys ({', '.join(KEY_COLUMNS)}) VALUES ({{values}}) "  # noqa: S608  # names of our own
    f"ON CONFLICT (name) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in KEY_COLUMNS[1:])}"
)
#: Reads keys in the order of their changes; ``{after}`` is a placeholder.
GET_KEYS = f"SELECT {', '.join(KEY_COLUMNS)} FROM keys WHERE version > {{after}} ORDER BY version"  # noqa: S608  # names of ours, values apart
#: Reads the version of the last change.
LAST_CHANGE = "SELECT COALESCE(MAX(version), 0) FROM keys"
