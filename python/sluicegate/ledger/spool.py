"""A worker's own file of records: two per request, each appended with one write while the request is served.

Rules of this file:

- What a record is, ``rust/src/row/record.rs`` says. Here it is bytes.
- ``admit`` is called before a request goes anywhere, ``finish`` before its answer's end is written. Both are
  synchronous: after them a killed process has lost nothing. What a power cut takes is ``fsync``'s affair.
- What is simple is done by ``rust/src/python/tail.rs``, within the call that makes a record (``Rows``). What it leaves,
  and each record that is forced to the disk, comes here.
- A write that was short is cut back; if even that fails, the next record starts a segment of its own.
- The spool is bounded. Room for the end of every admitted request is kept free, so it is admission that is refused,
  never a record of what has been served. A disk that is full or read-only is told the same way; ends that it does not
  take wait in memory, a bounded number, and are written as soon as it takes them.
- One thread, the event loop's, admits and finishes, and it is the only one that makes an end wait. While none waits it
  alone writes, so it needs the lock only for those that do and to begin a segment.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
import logging
import os
from pathlib import Path
import threading
import time
from typing import Literal

from sluicegate import _native
from sluicegate.ledger.segments import create_instance, segment_file, size_of

#: Bytes of a segment; smaller where the whole spool is small.
_SEGMENT = 16 << 20
#: What is kept free for the end of each admitted request: its record is 300 to 1,500 bytes.
_RESERVED = 2048
#: Ends that wait in memory for a disk that takes nothing: about 8 MB.
_LATE = 10_000
#: Seconds between two looks at how much the writer has removed.
_LOOK = 0.1

_log = logging.getLogger(__name__)

Fsync = Literal["never", "interval", "each"]


class SpoolFull(Exception):
    """There is no room for another request's records, or the disk takes none."""


class Spool:
    """The spool of this process, under ``folder``; ``size`` bytes at most. Raises OSError if it cannot be made.

    ``lost`` is told, from any thread, how many rows were given up.
    """

    def __init__(
        self,
        folder: Path,
        *,
        size: int,
        fsync: Fsync,
        interval: float,
        lost: Callable[[int], None],
        segment: int = _SEGMENT,
    ) -> None:
        self.path, self._lock_file = create_instance(folder)
        self.instance = self.path.name
        #: Where records are appended: this segment, and what the spool's bounds leave.
        self.tail = _native.Tail(size=size, segment=min(segment, size // 8), reserved=_RESERVED)
        self._fsync = fsync
        self._each = fsync == "each"
        self._lost = lost
        self._number = 0
        self._old: list[int] = []
        self._looked = 0.0
        self._failing = False
        self._late: deque[bytes] = deque()
        self._lock = threading.RLock()
        self._synced = 0
        self._closing = threading.Event()
        self._next_segment()
        self._keeper = threading.Thread(target=self._keep, args=(interval,), name="spool", daemon=True)
        self._keeper.start()

    @property
    def direct(self) -> _native.Tail | None:
        """The tail, if records may be appended there without asking the spool."""
        return None if self._each else self.tail

    def admit(self, data: bytes) -> None:
        """Write down that a request may be served: its record. Raises SpoolFull, and then nothing was written."""
        if self._late or not self.tail.has_room(len(data)):
            self._make_room(len(data))
        try:
            self._append(data)
        except OSError as error:
            self._failed(error)
            raise SpoolFull from error
        self.tail.open += 1
        self.tail.waits = False

    def finish(self, data: bytes) -> None:
        """Write down how an admitted request ended: its record. Never raises."""
        self.tail.open -= 1
        try:
            if not self._late:  # else it stands behind them
                self._append(data)
                self.tail.waits = False
                return
        except OSError as error:
            self._failed(error)
        if len(self._late) < _LATE and self.tail.descriptor >= 0:
            self._late.append(data)
            self.tail.waits = True
        else:
            self._lost(1)

    @property
    def used(self) -> int:
        """Bytes of its files, as last looked at."""
        return self.tail.others + self.tail.offset

    @property
    def late(self) -> int:
        """How many ends wait in memory."""
        return len(self._late)

    def close(self) -> None:
        """Write what waits, force it to the disk and let go of the lock: from now on its owner is dead."""
        self._closing.set()
        self._keeper.join()
        with self._lock:
            if self.tail.descriptor < 0:
                return
            if self._late and not self._write_late():
                _log.error("ends of requests that are lost: %d; %s cannot be written", len(self._late), self.path)
                self._lost(len(self._late))
                self._late.clear()
            self._let_go([*self._old, self.tail.end()], sync=self._fsync != "never")
            os.close(self._lock_file)

    def _append(self, data: bytes) -> None:
        if not self.tail.fits(len(data)):
            self._next_segment()
        self.tail.append(data)
        if self._each:
            os.fdatasync(self.tail.descriptor)

    def _next_segment(self) -> None:
        with self._lock:
            old = self.tail.begin(segment_file(self.path, self._number + 1))
            self._number += 1
            self._synced = 0
            if old >= 0:
                self.tail.others = size_of(self.path)
                self._old.append(old)

    def _make_room(self, length: int) -> None:
        """Write the ends that wait, and look again at what the writer has left. Raises SpoolFull."""
        with self._lock:
            if self._late and not self._write_late():
                raise SpoolFull
        now = time.monotonic()
        if now - self._looked >= _LOOK:
            self._looked = now
            self.tail.others = max(0, size_of(self.path) - self.tail.offset)
        if not self.tail.has_room(length):
            raise SpoolFull

    def _write_late(self) -> bool:
        """Write the ends that wait; whether none does any more."""
        try:
            while self._late:
                self._append(self._late[0])
                self._late.popleft()
        except OSError as error:
            self._failed(error)
        else:
            self._failing = False
        return not self._late

    def _failed(self, error: OSError) -> None:
        if not self._failing and error.errno is not None:
            self._failing = True
            _log.error("the spool %s cannot be written: %s", self.path, error.strerror)

    def _keep(self, interval: float) -> None:
        """Off the loop, every interval: write the ends that wait, and force to the disk what was written."""
        while not self._closing.wait(interval):
            with self._lock:
                if self._late:
                    self._write_late()
                written, self._old = self._old, []
                reached = self.tail.offset
                if self._synced != reached and self._fsync == "interval":
                    with suppress(OSError):  # no descriptor is left: at the next interval, then
                        written.append(os.dup(self.tail.descriptor))
                        self._synced = reached
            self._let_go(written, sync=self._fsync == "interval")

    @staticmethod
    def _let_go(descriptors: list[int], *, sync: bool) -> None:
        for descriptor in descriptors:
            if sync:
                _sync(descriptor)
            os.close(descriptor)


def _sync(descriptor: int) -> None:
    """Force a file to the disk, as far as the disk can."""
    try:
        os.fdatasync(descriptor)
    except OSError as error:
        _log.error("the spool cannot be forced to the disk: %s", error.strerror)
