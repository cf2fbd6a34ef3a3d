"""What an operator does with keys: make, list, change, rotate, revoke; from a command line or through a worker.

Rules: it blocks, so nobody calls it on an event loop. What is refused is a :class:`Refused` whose words say what would
be right. A key is given once, by whatever made it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime
import secrets
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from sluicegate.access.reading import stored_key, written
from sluicegate.config import Problem, StoredKey, read_stored_key
from sluicegate.config.keys import LIMITS
from sluicegate.config.readers import Wrong, seconds, unknown
from sluicegate.policy.key_format import ALPHABET, RANDOM, complete, shown
from sluicegate.policy.keys import digest_of
from sluicegate.store.interface import StoreError
from sluicegate.store.keys import KeyRecord

if TYPE_CHECKING:
    from sluicegate.config import Settings
    from sluicegate.store.keys import KeyStore

_MICROS: Final = 1_000_000
#: How often a change is tried where somebody else changes the same key.
_TRIES: Final = 5

#: A key as people see it; never the key itself.
Shown = dict[str, Any]


class Refused(Exception):
    """What was asked cannot be done: ``status`` as in HTTP, a code, and all that is wrong with what was said."""

    def __init__(self, status: int, code: str, message: str, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.problems = problems


class Register:
    """The keys of a store, under a configuration. Every method raises Refused."""

    def __init__(self, settings: Settings, store: KeyStore) -> None:
        self._settings = settings
        self._store = store

    def listed(self) -> list[Shown]:
        """Give every key there ever was, by name."""
        return [self._shown(record) for record in sorted(self._all().values(), key=lambda record: record.name)]

    def one(self, name: str) -> Shown:
        """Give one key."""
        return self._shown(self._found(name))

    def create(self, said: Mapping[str, Any]) -> Shown:
        """Make a key of what is said of it, named as under ``keys`` in the configuration; the answer has it."""
        key = self._read(said)
        if key.name in {other.name for other in self._settings.keys}:
            raise Refused(409, "key_exists", f"A key {key.name} is configured; take another name.")
        text = self._new_key()
        record = self._recorded(KeyRecord(name=key.name, digest="", shown="", created=_now()), key, said)
        record = self._with_key(record, text)
        if not self._write(record, 0):
            raise Refused(409, "key_exists", f"There is a key {key.name}, or was one; names are not used again.")
        return self._shown(record) | {"key": text}

    def change(self, name: str, said: Mapping[str, Any]) -> Shown:
        """Say something else of a key; null takes back what was said."""
        if "name" in said:
            raise Refused(400, "invalid_key", "A key keeps its name.", (Problem("name", "cannot be changed"),))

        def changed(record: KeyRecord) -> KeyRecord:
            known = written(record)
            if record.expires is not None:
                known["expires"] = _time(record.expires)
            known = {field: value for field, value in (known | dict(said)).items() if value is not None}
            return self._recorded(record, self._read(known), known)

        return self._shown(self._changed(name, changed))

    def rotate(self, name: str, overlap: object) -> Shown:
        """Give a key another text, which the answer has; the one before is good for ``overlap`` seconds more."""
        try:
            still = seconds(zero=True)(overlap)
        except Wrong as wrong:
            raise Refused(400, "invalid_key", f"overlap: {wrong}", (Problem("overlap", str(wrong)),)) from None
        text = self._new_key()

        def rotated(record: KeyRecord) -> KeyRecord:
            now = _now()
            former = {"former": record.digest if still else "", "former_until": now + int(still * _MICROS)}
            return msgspec.structs.replace(self._with_key(record, text), rotated=now, **former)

        return self._shown(self._changed(name, rotated)) | {"key": text}

    def revoke(self, name: str) -> Shown:
        """Make a key nobody's, for good. Revoked again, it stays so."""
        record = self._found(name)
        if record.revoked is None:
            record = self._changed(name, lambda found: msgspec.structs.replace(found, revoked=_now()))
        return self._shown(record)

    def _new_key(self) -> str:
        return complete(self._settings.key_prefix, "".join(secrets.choice(ALPHABET) for _ in range(RANDOM)))

    def _with_key(self, record: KeyRecord, text: str) -> KeyRecord:
        return msgspec.structs.replace(
            record, digest=digest_of(text).hex(), shown=shown(text, self._settings.key_prefix)
        )

    def _read(self, said: Mapping[str, Any]) -> StoredKey:
        key, problems = read_stored_key(said)
        if not problems and key.group is not None and key.group not in self._settings.groups:
            problems = (Problem("group", unknown("group", key.group, self._settings.groups)),)
        if problems:
            raise Refused(400, "invalid_key", "; ".join(map(str, problems)), problems)
        return key

    @staticmethod
    def _recorded(record: KeyRecord, key: StoredKey, said: Mapping[str, Any]) -> KeyRecord:
        limits = {name: said[name] for name in LIMITS if said.get(name) is not None}
        return msgspec.structs.replace(
            record,
            key_group=key.group or "",
            models=msgspec.json.encode(key.models).decode(),
            limits=msgspec.json.encode(limits).decode(),
            expires=None if key.expires is None else key.expires * _MICROS,
        )

    def _changed(self, name: str, change: Callable[[KeyRecord], KeyRecord]) -> KeyRecord:
        for _ in range(_TRIES):
            record = self._found(name)
            if record.revoked is not None:
                raise Refused(409, "key_revoked", f"The key {name} is revoked, for good; make another.")
            changed = change(record)
            if self._write(changed, record.version):
                return changed
        raise Refused(409, "key_changed", f"The key {name} is being changed by somebody else; please try again.")

    def _found(self, name: str) -> KeyRecord:
        found = self._all().get(name)
        if found is None:
            raise Refused(404, "key_not_found", "There is no such key in the store.")
        return found

    def _all(self) -> dict[str, KeyRecord]:
        try:
            return {record.name: record for record in self._store.keys(0)}
        except StoreError as error:
            raise _away(error) from error

    def _write(self, record: KeyRecord, before: int) -> bool:
        try:
            return self._store.write_key(record, before)
        except StoreError as error:
            raise _away(error) from error

    def _shown(self, record: KeyRecord) -> Shown:
        key, problems = stored_key(record)
        limits = msgspec.json.decode(record.limits) if not problems else {}
        return {
            "name": record.name,
            "key_begins": record.shown,
            "state": self._state(record, key, problems),
            "models": list(key.models),
            "group": record.key_group or None,
            "limits": limits,
            "created": _time(record.created),
            "rotated": _time(record.rotated),
            "former_good_until": _time(record.former_until) if record.former else None,
            "expires": _time(record.expires),
            "revoked": _time(record.revoked),
        }

    def _state(self, record: KeyRecord, key: StoredKey, problems: tuple[Problem, ...]) -> str:
        if record.revoked is not None:
            return "revoked"
        if record.expires is not None and record.expires <= _now():
            return "expired"
        shadowed = record.name in {other.name for other in self._settings.keys}
        if problems or shadowed or (key.group is not None and key.group not in self._settings.groups):
            return "refused"
        return "good"


def with_register(settings: Settings, store: KeyStore | None, work: Callable[[Register], Any]) -> Any:  # noqa: ANN401  # whatever the work gives
    """Do something with the keys of a store that is opened for it, and give what comes of it. Raises Refused."""
    if store is None:
        raise Refused(409, "no_store", "There is no store: `store` is `none`.")
    with closing(store):
        try:
            store.open()
        except StoreError as error:
            raise _away(error) from error
        return work(Register(settings, store))


def _away(error: StoreError) -> Refused:
    return Refused(503, "store_unavailable", f"The store cannot be used: {error}")


def _now() -> int:
    return int(time.time() * _MICROS)


def _time(micros: int | None) -> str | None:
    if micros is None:
        return None
    return datetime.fromtimestamp(micros // _MICROS, UTC).isoformat().replace("+00:00", "Z")
