"""One spool's way into the store: each request once, whatever stops it on the way.

Rules of this file:

- The store's place in the spool moves in the transaction that writes what was read; a file is removed after that
  transaction. Whoever comes next reads on from the store's place, so it does not matter where he was stopped.
- An end makes a row by itself. An admission makes one only when its owner is dead and no end of it came: its outcome
  is ``unknown``. Admissions of requests that are still running when their segment goes are kept in the store.
"""

from __future__ import annotations

import logging
from pathlib import Path

from sluicegate._native import Ends
from sluicegate.ledger import segments
from sluicegate.store.interface import Batch, Place, Store

#: Bytes read at a time: about 1,000 requests.
_READ = 512 << 10
#: The longest record there can be, in bytes.
_LONGEST = 1 << 16
#: Set aside: a segment that cannot be read to its end.
DAMAGED = ".damaged"

_log = logging.getLogger(__name__)


class Drain:
    """Carries one spool. Every method blocks; StoreError and OSError leave it as it was: call again."""

    def __init__(self, spool: Path, store: Store) -> None:
        self._spool = spool
        self._name = spool.name
        self._store = store
        self._place: Place | None = None
        self._running: dict[int, bytes] = {}
        #: Those of them that are in the store's own table.
        self._kept: set[int] = set()
        #: Rows written, and records that could not be read.
        self.rows = self.damaged = 0
        #: Its owner is dead, all of it is in the store, and its folder is removed.
        self.gone = False

    def step(self) -> bool:
        """Carry what one read brings; whether there is more to be done at once."""
        if self._place is None:
            self._find_place()
        place = self._place or Place()
        dead = segments.is_dead(self._spool)  # looked at before the files: then they are whole
        numbers = [number for number in segments.segments(self._spool) if number >= place.segment]
        if not numbers:
            return dead and self._bury()
        if numbers[0] > place.segment:
            place = Place(numbers[0], 0)
        data = segments.read_segment(self._spool, place.segment, place.offset, _READ)
        ends = Ends(data, self._name)
        self._running.update(ends.admitted)
        self.damaged += ends.damaged
        final = dead or len(numbers) > 1
        if ends.end == 0 and final and (ends.unbelievable or len(data) < _READ):
            return self._next_segment(place, torn=bool(data))
        if ends.end:
            self._write(ends, Place(place.segment, place.offset + ends.end))
        return bool(ends.end) and (final or len(data) == _READ)

    def _write(self, ends: Ends, place: Place) -> None:
        """Commit the rows of requests that have ended."""
        ended = ends.among(list(self._running))
        self._commit(Batch(self._name, ends, place, settled=[number for number in ended if number in self._kept]))
        for number in ended:
            del self._running[number]
        self._kept.difference_update(ended)

    def _commit(self, batch: Batch) -> None:
        try:
            self._store.write(batch)
        except BaseException:
            self._place = None  # what the store has is asked again
            raise
        self._place = batch.place
        self.rows += len(batch.ends or ())
        self._kept.update(batch.running)

    def _next_segment(self, place: Place, *, torn: bool) -> bool:
        """The segment is read to its end: keep what still runs, then remove it."""
        fresh = {number: record for number, record in self._running.items() if number not in self._kept}
        self._commit(Batch(self._name, None, Place(place.segment + 1, 0), running=fresh))
        if torn:
            self._set_aside(place)
        segments.remove_segment(self._spool, place.segment)
        return True

    def _set_aside(self, place: Place) -> None:
        """A torn last record is what a power cut leaves; more than that is kept for whoever wants to look."""
        file = segments.segment_file(self._spool, place.segment)
        if file.exists() and file.stat().st_size - place.offset > _LONGEST:
            self.damaged += 1
            aside = self._spool.with_name(f"{self._name}-{place.segment:08}{DAMAGED}")
            file.rename(aside)
            _log.error("a part of the spool cannot be read and is set aside: %s from byte %d on", aside, place.offset)

    def _bury(self) -> bool:
        """Its owner is dead and every file is read: what was admitted and never ended is unknown."""
        self._write(Ends.unseen(list(self._running.items()), self._name), self._place or Place())
        segments.remove_instance(self._spool)
        self._store.forget(self._name)
        self.gone = True
        return False

    def _find_place(self) -> None:
        """Ask the store where it is, and read again which admissions before that have not ended."""
        place = self._store.place(self._name)
        running = self._store.running(self._name)
        self._kept = set(running)
        for number in segments.segments(self._spool):
            if number < place.segment:
                segments.remove_segment(self._spool, number)
        self._running = running | self._admitted_before(place)
        self._place = place

    def _admitted_before(self, place: Place) -> dict[int, bytes]:
        if not place.offset:
            return {}
        data = segments.read_segment(self._spool, place.segment, 0, place.offset)
        return Ends(data, self._name).admitted
