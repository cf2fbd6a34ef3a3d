"""The methods that move the series of :mod:`sluicegate.telemetry.series`.

A request costs a few look-ups and one call into Rust; event gaps are counted by Rust alone.
"""

from __future__ import annotations

from mmap import mmap
from typing import TYPE_CHECKING

from msgspec.structs import astuple

from sluicegate import _native
from sluicegate.exchange import Exchange, Tokens, Usage
from sluicegate.telemetry.series import (
    BUILD_INFO,
    BYTES,
    DISCONNECTS,
    DURATION,
    EVENT_GAP,
    FALLBACKS,
    FALLBACKS_SKIPPED,
    FIRST_CONTENT,
    GEN_AI_DURATION,
    GEN_AI_FIRST,
    GEN_AI_PER_TOKEN,
    GEN_AI_USAGE,
    HEARTBEATS,
    KEYS_UNAVAILABLE,
    LIMIT_REFUSED,
    LIMITS_ASKED,
    LIMITS_FAILED,
    LIMITS_UNAVAILABLE,
    LOG_DROPPED,
    LOOP_LAG,
    MALFORMED,
    OVERHEAD,
    REFUSED,
    REQUESTS,
    RETRIES,
    SERIES,
    SETS_DROPPED,
    STREAMS_ACTIVE,
    TARGET_CHANGES,
    TARGET_STATE,
    TOKENS,
    WAITING,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sluicegate.telemetry.series import Series

    Values = Callable[[], Mapping[tuple[str, ...], int]]

#: Every series as the native bank wants it.
TABLE = tuple(series.row for series in SERIES)
#: Bytes that a worker counts in; only what is touched takes memory.
MEMORY = _native.Bank.memory_needed(TABLE)

#: The series that rows move, as the native side calls them.
_MOVED = {
    "requests": REQUESTS,
    "duration": DURATION,
    "overhead": OVERHEAD,
    "bytes": BYTES,
    "tokens": TOKENS,
    "first_content": FIRST_CONTENT,
    "malformed": MALFORMED,
    "heartbeats": HEARTBEATS,
    "disconnects": DISCONNECTS,
    "gen_ai_duration": GEN_AI_DURATION,
    "gen_ai_usage": GEN_AI_USAGE,
    "gen_ai_first": GEN_AI_FIRST,
    "gen_ai_per_token": GEN_AI_PER_TOKEN,
}


class Metrics:
    """What one worker counts. Every method is safe from any thread and takes microseconds.

    ``memory`` is what it counts in, zeros of :data:`MEMORY` bytes; shared with another process, that one shows the
    figures, also after this one's death. Without it they are seen in this process alone.
    """

    def __init__(self, memory: mmap | None = None) -> None:
        self._bank = bank = _native.Bank(TABLE, memory or mmap(-1, MEMORY), dropped=SETS_DROPPED.name)
        self._watched: list[tuple[Series, Values]] = []
        self._shown: set[int] = set()
        self._streams = bank.slot(STREAMS_ACTIVE.name)
        self._loop_lag = bank.slot(LOOP_LAG.name)
        self._log_dropped = bank.slot(LOG_DROPPED.name)
        bank.set(bank.slot(BUILD_INFO.name, _native.version, _native.build_profile), 1)

    @property
    def bank(self) -> _native.Bank:
        """The bank itself, for what Rust counts; with it :attr:`event_gap`."""
        return self._bank

    @property
    def event_gap(self) -> int:
        """The slot in which Rust counts the gaps between a stream's reads."""
        return self._bank.slot(EVENT_GAP.name)

    def rows(self, configuration: str, providers: Mapping[str, str], tail: _native.Tail | None = None) -> _native.Rows:
        """Give what makes the rows of a configuration's requests, and counts them.

        ``providers`` says what ``gen_ai_provider_name`` is for an upstream; one that is not named is its own provider.
        Their records go to the spool's ``tail``, if there is one.
        """
        names = {kind: series.name for kind, series in _MOVED.items()}
        fields = [one.__struct_fields__ for one in (Exchange, Usage, Tokens)]
        return _native.Rows(self._bank, names, providers, configuration, fields, astuple, tail)

    def stream_opened(self) -> None:
        """A stream is being relayed."""
        self._bank.add(self._streams, 1)

    def stream_closed(self) -> None:
        """It is no longer."""
        self._bank.add(self._streams, -1)

    def watch(self, gauge: Series, values: Values) -> Callable[[], None]:
        """Ask ``values`` for what a gauge shows, by its labels, whenever it is looked at. Gives what ends that.

        Several may be asked for one gauge: it shows their sum (the largest, if they say it ``alike``).
        """
        watched = (gauge, values)
        self._watched.append(watched)
        return lambda: self._watched.remove(watched)

    def refused(self, status: int, code: str) -> None:
        """A request was refused before it had a row."""
        self._bank.add(self._bank.slot(REFUSED.name, str(status), code), 1)

    def target_is(self, target: str, state: str, states: Sequence[str], *, changed: bool = True) -> None:
        """A target came into one of ``states``; if not ``changed``, it is only made known."""
        for one in states:
            self._bank.set(self._bank.slot(TARGET_STATE.name, target, one), int(one == state))
            self._bank.add(self._bank.slot(TARGET_CHANGES.name, target, one), int(changed and one == state))

    def waits(self, by: int) -> None:
        """So many more requests wait for a target."""
        self._bank.add(self._bank.slot(WAITING.name), by)

    def loop_lagged(self, seconds: float) -> None:
        """The loop ran something this much later than it was due."""
        self._bank.observe_seconds(self._loop_lag, seconds)

    def limit_refused(self, scope: str, kind: str) -> None:
        """A limit refused a request."""
        self._bank.add(self._bank.slot(LIMIT_REFUSED.name, scope, kind), 1)

    def limits_asked(self, seconds: float) -> None:
        """Whoever keeps the limits has answered."""
        self._bank.observe_seconds(self._bank.slot(LIMITS_ASKED.name), seconds)

    def limits_failed(self, reason: str) -> None:
        """Whoever keeps the limits has not answered."""
        self._bank.add(self._bank.slot(LIMITS_FAILED.name, reason), 1)

    def limits_unavailable(self, decision: str) -> None:
        """A request was admitted or refused without an answer of whoever keeps the limits."""
        self._bank.add(self._bank.slot(LIMITS_UNAVAILABLE.name, decision), 1)

    def keys_unavailable(self, decision: str) -> None:
        """A request with a key of the store was admitted or refused though the store has not answered for too long."""
        self._bank.add(self._bank.slot(KEYS_UNAVAILABLE.name, decision), 1)

    def log_lines_dropped(self, lines: int) -> None:
        """The access log lost lines."""
        self._bank.add(self._log_dropped, lines)

    def retried(self, upstream: str, reason: str) -> None:
        """A request is sent to the target again that it has just failed at."""
        self._bank.add(self._bank.slot(RETRIES.name, upstream, reason), 1)

    def fell_back(self, model: str, left: str, taken: str, reason: str) -> None:
        """A request moves from target ``left`` on to target ``taken``."""
        self._bank.add(self._bank.slot(FALLBACKS.name, model, left, taken, reason), 1)

    def fallback_skipped(self, model: str, reason: str) -> None:
        """A fallback that a caller named cannot be used."""
        self._bank.add(self._bank.slot(FALLBACKS_SKIPPED.name, model, reason), 1)

    def refresh(self) -> None:
        """Set every gauge that is watched. To be called from the loop's thread, before the bank is looked at."""
        values: dict[int, int] = dict.fromkeys(self._shown, 0)
        for gauge, ask in self._watched:
            for labels, value in ask().items():
                slot = self._bank.slot(gauge.name, *labels)
                before = values.get(slot, 0)
                values[slot] = max(before, value) if gauge.alike else before + value
        for slot, value in values.items():
            self._bank.set(slot, value)
        self._shown.update(values)
