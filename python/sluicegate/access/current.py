"""Who may ask now: one ring of keys for the running configuration, made anew whenever either of its halves changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import logging
import threading
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from sluicegate.access.reading import stored_key
from sluicegate.errors import KeysUnavailable, NotAuthenticated
from sluicegate.policy.keys import Grant, KeyRing, caller_of
from sluicegate.store.interface import StoreError

if TYPE_CHECKING:
    from sluicegate.config import Settings
    from sluicegate.policy.keys import Caller
    from sluicegate.store.keys import KeyRecord, KeyStore

#: Seconds between two looks at the store. A revocation holds after these and what the store takes to answer.
EVERY: Final = 2.0
#: Seconds that the thread gets to end, and that a start waits for the first answer.
_PATIENCE: Final = 3.0
_MICROS: Final = 1_000_000

_log = logging.getLogger(__name__)


class Counts(Protocol):
    """The series of keys."""

    def keys_unavailable(self, decision: str) -> None:
        """Count a request that was decided without the store: ``allow`` or ``deny``."""


class Access:
    """Says whose a credential is, under the configuration that serves now. It outlives reloads; ``store`` does too.

    Without a store there are the configuration's keys alone.
    """

    def __init__(self, settings: Settings, store: KeyStore | None, counts: Counts) -> None:
        self._settings = settings
        self._store = store
        self._counts = counts
        self._lock = threading.Lock()
        self._records: Mapping[str, KeyRecord] = MappingProxyType({})
        self._grants: Mapping[str, tuple[KeyRecord, Sequence[Grant]]] = {}
        self._good = 0
        self._version = -1
        self._began = time.monotonic()
        #: When the store was last asked with success, monotonic; None: never.
        self._read_at: float | None = None
        self._answers = True
        self._looked = threading.Event()
        self._stopping = threading.Event()
        self._ring = self._made()
        self._thread: threading.Thread | None = None
        if store is not None:
            self._thread = threading.Thread(target=self._run, args=(store,), name="keys", daemon=True)
            self._thread.start()

    def caller(self, authorization: Sequence[str], x_api_key: Sequence[str]) -> Caller:
        """Return whose credential a request presents. Raises NotAuthenticated, BadRequest or KeysUnavailable."""
        try:
            caller = self._ring.caller(authorization, x_api_key, time.time())
        except NotAuthenticated as error:
            if self._store is not None and self._read_at is None and error.code == "invalid_api_key":
                self._counts.keys_unavailable("deny")
                raise KeysUnavailable from None
            raise
        if caller.stored and self.age > self._settings.keys_max_stale:
            self._counts.keys_unavailable(self._settings.keys_unavailable)
            if self._settings.keys_unavailable == "deny":
                raise KeysUnavailable
        return caller

    @property
    def age(self) -> float:
        """Seconds since the store last told its keys; 0 without a store."""
        if self._store is None:
            return 0.0
        return time.monotonic() - (self._read_at if self._read_at is not None else self._began)

    @property
    def known(self) -> int:
        """How many of the store's keys are good as far as is known here; one in rotation counts as two."""
        return self._good

    def follow(self, settings: Settings) -> None:
        """Take over another configuration; its keys are good from now on."""
        with self._lock:
            self._settings = settings
            self._ring = self._made()

    def wait(self) -> None:
        """Wait until the store was looked at for the first time, 3 s at most. Blocks."""
        if self._store is not None:
            self._looked.wait(_PATIENCE)

    def close(self) -> None:
        """Stop looking. Blocks for 3 s at most: a store that holds it up longer does so until the process ends."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_PATIENCE)
            self._thread = None

    def _run(self, store: KeyStore) -> None:
        while not self._stopping.is_set():
            try:
                self._look(store)
                self._tell(None)
            except (StoreError, OSError, msgspec.ValidationError) as error:
                self._tell(error)
                store.close()
            self._looked.set()
            self._stopping.wait(EVERY)
        store.close()

    def _look(self, store: KeyStore) -> None:
        """Read what has changed in the store since the last time."""
        began = time.monotonic()
        store.open()
        version = store.keys_version()
        if version != self._version:
            # Lower than before: the store was put back to an earlier state, so nothing read from it counts any more.
            known = dict(self._records) if version > self._version else {}
            changed = store.keys(self._version if known else 0)
            known |= {record.name: record for record in changed}
            with self._lock:
                self._records = MappingProxyType(known)
                self._read_at = began
                self._ring = self._made()
            self._version = max([version, *(record.version for record in changed)])
        self._read_at = began

    def _made(self) -> KeyRing:
        """Make the ring of both halves; what has not changed stays the same objects, so that limits know it again."""
        settings = self._settings
        self._grants = {
            name: before
            if (before := self._grants.get(name)) is not None and before[0] is record
            else (record, _grants(record))
            for name, record in self._records.items()
        }
        configured = {key.name for key in settings.keys}
        good: list[Grant] = []
        for name, (_, grants) in self._grants.items():
            group = grants[0].caller.group if grants else ""
            if group and group not in settings.groups:
                _log.error("key %s is refused: its group %s is not configured", name, group)
            elif grants and name in configured:
                _log.error("key %s of the store is refused: a key of this name is configured", name)
            else:
                good += grants
        self._good = len(good)
        return KeyRing(
            settings.keys,
            good,
            prefix=settings.key_prefix,
            closed=settings.require_key or bool(self._records) or (self._store is not None and self._read_at is None),
        )

    def _tell(self, error: Exception | None) -> None:
        answers = error is None
        if answers != self._answers:
            self._answers = answers
            if answers:
                _log.warning("the store tells its keys again")
            else:
                _log.error("the store does not tell its keys, those last read stay good for a while: %s", error)


def _grants(record: KeyRecord) -> Sequence[Grant]:
    """Give what a record grants: to its key, and to the one before its rotation."""
    if record.revoked is not None:
        return ()
    key, problems = stored_key(record)
    if problems:
        _log.error("key %s is refused: %s", record.name, "; ".join(map(str, problems)))
        return ()
    caller, until = caller_of(key), _seconds(record.expires)
    found = [Grant(bytes.fromhex(record.digest), caller, until)]
    if record.former:
        found.append(Grant(bytes.fromhex(record.former), caller, min(until, record.former_until / _MICROS)))
    return found


def _seconds(micros: int | None) -> float:
    return float("inf") if micros is None else micros / _MICROS
