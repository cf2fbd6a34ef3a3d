"""One JSON line per request, and the last of them at hand.

Rules of this file:

- A line is one event, whatever is in it: pure ASCII, every control character escaped. Nobody's model name, path or
  request id can start a second line or move a terminal's cursor.
- Strings from outside are cut at 256 characters. Message content is not in a row, so it cannot be here.
- The event loop never waits for the log: it hands rows to a thread, and rows that do not fit are dropped and counted.
- What is written at once is whole lines of ``PIPE_BUF`` together: workers that share a pipe do not cut into each other.
"""

from __future__ import annotations

from collections import deque
import json
import os
import select
import stat
import threading
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import RawIOBase

    from sluicegate.exchange import Row

# How long the writer gathers rows before it writes them at once: 20 wake-ups a second at most, none when idle.
_GATHER = 0.05
_LONGEST = 256
# Rows that are encoded and written together.
_BATCH = 256


def line(row: Row) -> bytes:
    """The row as a JSON object in one line of ASCII, without a line end; its members are the row's fields."""
    try:
        text = msgspec.json.encode(row)
    except UnicodeEncodeError:  # a lone surrogate
        return _ascii(row)
    return text if _is_plain(text) else _ascii(row)


class AccessLog:
    """Writes a line per request to ``stream`` and keeps the last ``ring`` rows; without a stream it only keeps them.

    The stream is unbuffered (``sys.stderr.buffer.raw``), since a buffer's lock, held by a writer whose reader has
    stalled, aborts the interpreter at its exit. It stays the caller's to close. ``dropped`` is told, from any thread,
    how many lines were lost: ``limit`` rows were waiting already, or the stream failed.
    """

    def __init__(
        self, stream: RawIOBase | None, dropped: Callable[[int], None], *, limit: int = 8192, ring: int = 1000
    ) -> None:
        self._stream = stream
        self._dropped = dropped
        self._limit = limit
        self._recent: deque[Row] = deque(maxlen=ring)
        self._pending: deque[Row] = deque()
        self._encoder = msgspec.json.Encoder()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._writer = threading.Thread(target=self._write, name="access-log", daemon=True)
        if stream is not None:
            self._writer.start()

    def record(self, row: Row) -> None:
        """Logs a request that ended. Never waits and never fails. Called by the event loop's thread alone."""
        if max(len(row.requested_model), len(row.upstream_model), len(row.upstream_request_id)) > _LONGEST:
            row = msgspec.structs.replace(
                row,
                requested_model=_cut(row.requested_model),
                upstream_model=_cut(row.upstream_model),
                upstream_request_id=_cut(row.upstream_request_id),
            )
        self._recent.append(row)
        if self._stream is None:
            return
        if len(self._pending) >= self._limit or self._closing.is_set():
            self._dropped(1)
            return
        self._pending.append(row)
        if not self._wake.is_set():
            self._wake.set()

    def recent(self) -> bytes:
        """The last rows as a JSON array, the newest first. Takes 4 us per row: call it in a thread."""
        rows = list(self._recent)
        return b"[" + b",\n".join([line(row) for row in reversed(rows)]) + b"]\n"

    def close(self, timeout: float = 2.0) -> None:
        """Writes what is waiting, for ``timeout`` seconds at most; what comes later is dropped."""
        self._closing.set()
        self._wake.set()
        if self._stream is not None:
            self._writer.join(timeout)

    def _write(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()
            self._closing.wait(_GATHER)
            self._wake.clear()
            self._write_pending()
        self._write_pending()

    def _write_pending(self) -> None:
        while waiting := min(len(self._pending), _BATCH):
            for lines, text in self._together([self._pending.popleft() for _ in range(waiting)]):
                if not self._written(text):
                    self._dropped(lines)

    def _together(self, rows: list[Row]) -> Iterator[tuple[int, bytes]]:
        """Lines that are written at once, and how many: what a pipe takes whole; a longer line stands alone."""
        text = self._lines(rows)
        if not self._is_pipe():
            yield len(rows), text
            return
        lines: list[bytes] = []
        size = 0
        for encoded in text.splitlines(keepends=True):
            if lines and size + len(encoded) > select.PIPE_BUF:
                yield len(lines), b"".join(lines)
                lines, size = [], 0
            lines.append(encoded)
            size += len(encoded)
        yield len(lines), b"".join(lines)

    def _lines(self, rows: list[Row]) -> bytes:
        # All at once they take 2 us each, one by one 4: this runs beside the loop, under the interpreter's lock.
        try:
            text = self._encoder.encode_lines(rows)
        except UnicodeEncodeError:
            text = b"\xff"
        return text if _is_plain(text) else b"".join([line(row) + b"\n" for row in rows])

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


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


def _is_plain(text: bytes) -> bool:
    return text.isascii() and b"\x7f" not in text


def _ascii(row: Row) -> bytes:
    text = json.dumps(msgspec.to_builtins(row), ensure_ascii=True, separators=(",", ":"))
    return text.replace("\x7f", "\\u007f").encode("ascii")
