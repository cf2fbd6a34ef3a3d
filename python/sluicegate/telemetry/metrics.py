"""The methods that move the series of :mod:`sluicegate.telemetry.series`.

A request costs a few look-ups and one call into Rust; event gaps are counted by Rust alone.
"""

from __future__ import annotations

from mmap import mmap
from typing import TYPE_CHECKING

from sluicegate import _native
from sluicegate.exchange import NO_USAGE
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

    from sluicegate.exchange import Attempt, Row, Usage
    from sluicegate.telemetry.series import Series

    Values = Callable[[], Mapping[tuple[str, ...], int]]

#: Every series as the native bank wants it.
TABLE = tuple(series.row for series in SERIES)
#: Bytes that a worker counts in; only what is touched takes memory.
MEMORY = _native.Bank.memory_needed(TABLE)
#: What stands for every name that is not configured.
OTHER = "_other"

# Label combinations whose slots are kept at hand; beyond them a request asks Rust again (0.7 us per slot).
_KNOWN = 8192

_Key = tuple[str, str, str, str, int, str]


class _Slots:
    """What one kind of request moves: the same model, target, operation, status and error."""

    __slots__ = ("_asked", "_bank", "_key", "_tokens", "always", "first", "per_token")

    def __init__(self, bank: _native.Bank, key: _Key, provider: str, always: list[int]) -> None:
        model, target, upstream, operation, status, error = key
        self._bank = bank
        self._key = key
        self._asked = (operation, provider, model, target.removeprefix(f"{upstream}/"))
        self._tokens: dict[tuple[str, str], tuple[list[int], list[int]]] = {}
        self.first: int | None = None if error else bank.slot(GEN_AI_FIRST.name, *self._asked)
        self.per_token: int | None = None if error else bank.slot(GEN_AI_PER_TOKEN.name, *self._asked)
        #: In the order of the values in Metrics.finished.
        self.always = [
            bank.slot(REQUESTS.name, model, target, str(status), error),
            bank.slot(GEN_AI_DURATION.name, *self._asked, error),
            *always,
        ]

    def tokens(self, usage: Usage) -> tuple[list[int], list[int]]:
        """Slots of the input's three figures and of the output's two, each followed by OpenTelemetry's."""
        provenance = (usage.input_provenance, usage.output_provenance)
        known = self._tokens.get(provenance)
        if known is None:
            known = (
                self._direction(usage.input_provenance, "input", "cached_input", "cache_write"),
                self._direction(usage.output_provenance, "output", "reasoning"),
            )
            self._tokens[provenance] = known
        return known

    def _direction(self, provenance: str, whole: str, *parts: str) -> list[int]:
        if provenance == "none":
            return []
        slots = [
            self._bank.slot(TOKENS.name, self._key[0], self._key[1], direction, provenance)
            for direction in (whole, *parts)
        ]
        return [*slots, self._bank.slot(GEN_AI_USAGE.name, *self._asked, whole)]


class Metrics:
    """What one worker counts. Every method is safe from any thread and takes microseconds.

    ``memory`` is what it counts in, zeros of :data:`MEMORY` bytes; shared with another process, that one shows the
    figures, also after this one's death. Without it they are seen in this process alone.
    """

    def __init__(self, memory: mmap | None = None) -> None:
        self._bank = bank = _native.Bank(TABLE, memory or mmap(-1, MEMORY), dropped=SETS_DROPPED.name)
        self._providers: Mapping[str, str] = {}
        self._known: dict[_Key, _Slots] = {}
        self._watched: list[tuple[Series, Values]] = []
        self._shown: set[int] = set()
        self._streams = bank.slot(STREAMS_ACTIVE.name)
        self._first_content = bank.slot(FIRST_CONTENT.name)
        self._heartbeats = bank.slot(HEARTBEATS.name)
        self._loop_lag = bank.slot(LOOP_LAG.name)
        self._log_dropped = bank.slot(LOG_DROPPED.name)
        self._always = [
            bank.slot(DURATION.name),
            bank.slot(OVERHEAD.name),
            *(bank.slot(BYTES.name, side, direction) for side in ("client", "upstream") for direction in ("in", "out")),
        ]
        for phase in ("before_head", "before_commit", "streaming"):
            bank.slot(DISCONNECTS.name, phase)
        bank.set(bank.slot(BUILD_INFO.name, _native.version, _native.build_profile), 1)

    @property
    def bank(self) -> _native.Bank:
        """The bank itself, for what Rust counts; with it :attr:`event_gap`."""
        return self._bank

    @property
    def event_gap(self) -> int:
        """The slot in which Rust counts the gaps between a stream's reads."""
        return self._bank.slot(EVENT_GAP.name)

    def configured(self, providers: Mapping[str, str]) -> None:
        """Says what ``gen_ai_provider_name`` is for an upstream; one that is not named here is its own provider."""
        self._providers = providers
        self._known.clear()

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

    def finished(self, row: Row) -> None:
        """A request ended: everything its row says is counted, once."""
        key = (row.model, row.target, row.upstream, row.operation, row.status, row.error_code)
        known = self._known.get(key)
        if known is None:
            known = self._learn(key)
        slots = known.always.copy()
        values: list[float] = [
            1,
            row.duration,
            row.duration,
            row.overhead,
            row.bytes_in,
            row.bytes_out,
            row.upstream_bytes_in,
            row.upstream_bytes_out,
        ]
        usage = row.usage
        tokens = usage.tokens
        slots_in, slots_out = known.tokens(usage)
        if slots_in:
            slots += slots_in
            values += (tokens.input, tokens.cached_input, tokens.cache_write, tokens.input)
        if slots_out:
            slots += slots_out
            values += (tokens.output, tokens.reasoning, tokens.output)
        first = row.time_to_first_content
        if first is not None:
            slots.append(self._first_content)
            values.append(first)
            if known.first is not None:
                slots.append(known.first)
                values.append(first)
            if known.per_token is not None and tokens.output > 1:
                slots.append(known.per_token)
                values.append((row.duration - first) / (tokens.output - 1))
        if row.malformed_events:
            slots.append(self._bank.slot(MALFORMED.name, row.target))
            values.append(row.malformed_events)
        if row.heartbeats:
            slots.append(self._heartbeats)
            values.append(row.heartbeats)
        if row.left:
            slots.append(self._bank.slot(DISCONNECTS.name, row.left))
            values.append(1)
        self._bank.record(slots, values)
        for attempt in row.attempts:
            if not attempt.decisive and attempt.usage is not NO_USAGE:
                self._abandoned(row.model, attempt)

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

    def _abandoned(self, model: str, attempt: Attempt) -> None:
        """What an attempt reported that did not become the answer: the provider has counted it, and so do we."""
        usage, counts = attempt.usage, attempt.usage.tokens
        said: tuple[tuple[str, str, int], ...] = (
            ("input", usage.input_provenance, counts.input),
            ("cached_input", usage.input_provenance, counts.cached_input),
            ("cache_write", usage.input_provenance, counts.cache_write),
            ("output", usage.output_provenance, counts.output),
            ("reasoning", usage.output_provenance, counts.reasoning),
        )
        for direction, provenance, count in said:
            if provenance != "none":
                self._bank.add(self._bank.slot(TOKENS.name, model, attempt.target, direction, provenance), count)

    def _learn(self, key: _Key) -> _Slots:
        upstream = key[2]
        known = _Slots(self._bank, key, self._providers.get(upstream, upstream) or OTHER, self._always)
        if len(self._known) < _KNOWN:
            self._known[key] = known
        return known
