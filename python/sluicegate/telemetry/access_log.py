"""One JSON line per request, and the last of them at hand.

Rules of this file:

- A line is made by ``rust/src/row.rs``: one event whatever is in it, without message content.
- The event loop never waits for the log: it hands lines to a thread, and those that do not fit are dropped and counted.
- What is written at once is whole lines of ``PIPE_BUF`` together: workers that share a pipe do not cut into each other.
"""

from __future__ import annotations

from collections import deque
import math
import os
import select
import stat
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import RawIOBase

# How long the writer gathers lines before it writes them at once: 20 wake-ups a second at most, none when idle.
_GATHER = 0.05
# Lines that are written together.
_BATCH = 256


class AccessLog:
    """Writes a line per request to ``stream`` and keeps the last ``ring``; without a stream it only keeps them.

    The stream is unbuffered (``sys.stderr.buffer.raw``), since a buffer's lock, held by a writer whose reader has
    stalled, aborts the interpreter at its exit. It stays the caller's to close. ``dropped`` is told, from any thread,
    how many lines were lost: ``limit`` of them were waiting already, or the stream failed.
    """

    def __init__(
        self, stream: RawIOBase | None, dropped: Callable[[int], None], *, limit: int = 8192, ring: int = 1000
    ) -> None:
        self._stream = stream
        self._dropped = dropped
        self._limit = limit
        self._recent: deque[bytes] = deque(maxlen=ring)
        self._pending: deque[bytes] = deque()
        self._wake = threading.Event()
        # Whether the writer will look at what waits: asking that of the event costs a call.
        self._awake = False
        self._closed = False
        self._closing = threading.Event()
        self._writer = threading.Thread(target=self._write, name="access-log", daemon=True)
        if stream is not None:
            self._writer.start()

    def record(self, line: bytes) -> None:
        """Logs a request that ended. Never waits and never fails. Called by the event loop's thread alone."""
        self._recent.append(line)
        if self._stream is None:
            return
        pending = self._pending
        if len(pending) >= self._limit or self._closed:
            self._dropped(1)
            return
        pending.append(line)
        if not self._awake:
            self._awake = True
            self._wake.set()

    def recent(self) -> bytes:
        """The last lines as a JSON array, the newest first."""
        return b"[" + b",\n".join(reversed(tuple(self._recent))) + b"]\n"

    def close(self, timeout: float = 2.0) -> None:
        """Writes what is waiting, for ``timeout`` seconds at most; what comes later is dropped."""
        self._closed = True
        self._closing.set()
        self._wake.set()
        if self._stream is not None:
            self._writer.join(timeout)

    def _write(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()
            self._closing.wait(_GATHER)
            self._wake.clear()
            self._awake = False
            self._write_pending()
        self._write_pending()

    def _write_pending(self) -> None:
        while waiting := min(len(self._pending), _BATCH):
            for lines, text in self._together([self._pending.popleft() for _ in range(waiting)]):
                if not self._written(text):
                    self._dropped(lines)

    def _together(self, waiting: list[bytes]) -> Iterator[tuple[int, bytes]]:
        """Lines that are written at once, and how many: what a pipe takes whole; a longer line stands alone."""
        limit = select.PIPE_BUF if self._is_pipe() else math.inf
        lines: list[bytes] = []
        size = 0
        for line in waiting:
            if lines and size + len(line) >= limit:
                yield len(lines), b"\n".join([*lines, b""])
                lines, size = [], 0
            lines.append(line)
            size += len(line) + 1
        yield len(lines), b"\n".join([*lines, b""])

    def _is_pipe(self) -> bool:
        try:
            return self._stream is not None and stat.S_ISFIFO(os.fstat(self._stream.fileno()).st_mode)
        except (OSError, ValueError):
            return False

    def _written(self, text: bytes) -> bool:
        try:
            while text and self._stream is not None:
                written = self._stream.write(text)
                if written is None:  # set to non-blocking by somebody, and full
                    return False
                text = text[written:]
        except (OSError, ValueError):  # its reader is gone, the disk is full, or it is closed
            return False
        return True
