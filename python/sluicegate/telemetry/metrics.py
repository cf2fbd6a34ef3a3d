"""Every series the gateway shows: one table, and the methods that move it.

Rules of this file:

- A series that is not in :data:`SERIES` does not exist; the README's table is compared with it.
- Labels say what the *configuration* says: ``model`` is a configured name, a wildcard's pattern or ``_other``,
  ``target`` likewise. No string of a client's or an upstream's becomes a label.
- Whatever comes beyond a family's ``cap`` is counted under ``_other``, and that is counted too.
- A request costs a few look-ups and one call into Rust; event gaps are counted by Rust alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest

from sluicegate import _native

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sluicegate.exchange import Row, Usage

Kind = Literal["counter", "gauge", "histogram"]

#: The content type of :meth:`Metrics.exposition`.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: What stands for every name that is not configured.
OTHER = "_other"

# OpenTelemetry's buckets, and on: its own end at 81.92 s and 10 s, streams do not.
_DURATION = (0.005, *(0.01 * 2**power for power in range(16)), 600.0)
_FIRST = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(15.0, 20.0, 30.0, 45.0, 60.0),
)
_PER_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_TOKENS = tuple(float(4**power) for power in range(14))
_GAP = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SHORT = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)
_LAG = (*_SHORT, 1.0, 2.5)

_ASKED = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "gen_ai_response_model")


@dataclass(frozen=True, slots=True)
class Series:
    """One row of the table. Buckets are in the unit the name says; ``cap`` is how many label sets there may be."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    cap: int = 0


REQUESTS = Series(
    "sluicegate_requests_total",
    "counter",
    "Requests that ended. status 499: the client left before a head; error_type is empty on success.",
    ("model", "target", "status", "error_type"),
    cap=4096,
)
TOKENS = Series(
    "sluicegate_tokens_total",
    "counter",
    "Tokens. cached_input and cache_write are parts of input, reasoning of output.",
    ("model", "target", "direction", "provenance"),
    cap=4096,
)
BYTES = Series(
    "sluicegate_bytes_total",
    "counter",
    "Body bytes of ended requests: in is what the gateway read from that side, out what it wrote to it.",
    ("side", "direction"),
    cap=4,
)
STREAMS_ACTIVE = Series("sluicegate_streams_active", "gauge", "Streams that are being relayed.")
DURATION = Series(
    "sluicegate_request_duration_seconds",
    "histogram",
    "From a request's head to the end of its answer.",
    buckets=_DURATION,
)
FIRST_CONTENT = Series(
    "sluicegate_time_to_first_content_seconds",
    "histogram",
    "From a request's head to the first content of its stream.",
    buckets=_FIRST,
)
EVENT_GAP = Series(
    "sluicegate_event_gap_seconds",
    "histogram",
    "Between two reads of a stream that brought events.",
    buckets=_GAP,
)
OVERHEAD = Series(
    "sluicegate_overhead_seconds",
    "histogram",
    "The part of a request's duration in which no upstream was asked.",
    buckets=_SHORT,
)
DISCONNECTS = Series(
    "sluicegate_client_disconnects_total",
    "counter",
    "Clients that left before their answer ended: before_head, before_commit or streaming.",
    ("phase",),
    cap=3,
)
MALFORMED = Series(
    "sluicegate_malformed_events_total",
    "counter",
    "Events whose JSON or UTF-8 is broken; relayed as they came.",
    ("target",),
    cap=1024,
)
CONNECTIONS = Series(
    "sluicegate_upstream_connections",
    "gauge",
    "Connections to upstreams: connecting, idle or active.",
    ("upstream", "state"),
    cap=768,
)
LOOP_LAG = Series(
    "sluicegate_loop_lag_seconds",
    "histogram",
    "How late the event loop runs what is due.",
    buckets=_LAG,
)
BUILD_INFO = Series(
    "sluicegate_build_info",
    "gauge",
    "Always 1; version and profile (release or debug) of what runs.",
    ("version", "profile"),
    cap=1,
)
LOG_DROPPED = Series(
    "sluicegate_access_log_dropped_total",
    "counter",
    "Access log lines that were not written because their reader is too slow or gone.",
)
SETS_DROPPED = Series(
    "sluicegate_metrics_dropped_label_sets_total",
    "counter",
    "Times a label set had no room in its metric and was counted as _other.",
    ("metric",),
    cap=64,
)
GEN_AI_DURATION = Series(
    "gen_ai_server_request_duration_seconds",
    "histogram",
    "Duration of a request (OpenTelemetry gen_ai.server.request.duration).",
    (*_ASKED, "error_type"),
    _DURATION,
    cap=1024,
)
GEN_AI_FIRST = Series(
    "gen_ai_server_time_to_first_token_seconds",
    "histogram",
    "Time to a stream's first content, if it had no error (OpenTelemetry gen_ai.server.time_to_first_token).",
    _ASKED,
    _FIRST,
    cap=512,
)
GEN_AI_PER_TOKEN = Series(
    "gen_ai_server_time_per_output_token_seconds",
    "histogram",
    "Time per output token after the first, streams without error (OpenTelemetry gen_ai.server.time_per_output_token).",
    _ASKED,
    _PER_TOKEN,
    cap=512,
)
GEN_AI_USAGE = Series(
    "gen_ai_client_token_usage",
    "histogram",
    "Tokens of one request, input or output (OpenTelemetry gen_ai.client.token.usage).",
    (*_ASKED, "gen_ai_token_type"),
    _TOKENS,
    cap=1024,
)

SERIES = (
    REQUESTS,
    TOKENS,
    BYTES,
    STREAMS_ACTIVE,
    DURATION,
    FIRST_CONTENT,
    EVENT_GAP,
    OVERHEAD,
    DISCONNECTS,
    MALFORMED,
    CONNECTIONS,
    LOOP_LAG,
    GEN_AI_DURATION,
    GEN_AI_FIRST,
    GEN_AI_PER_TOKEN,
    GEN_AI_USAGE,
    LOG_DROPPED,
    SETS_DROPPED,
    BUILD_INFO,
)

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
    """The gateway's metrics, one per process. Every method is safe from any thread and takes microseconds."""

    def __init__(self) -> None:
        rows = [(row.name, row.kind, row.help, row.labels, row.buckets, row.cap) for row in SERIES]
        self._bank = bank = _native.Bank(rows, dropped=SETS_DROPPED.name)
        self._providers: Mapping[str, str] = {}
        self._known: dict[_Key, _Slots] = {}
        self._counts: Callable[[], Mapping[tuple[str, str], int]] = dict
        self._streams = bank.slot(STREAMS_ACTIVE.name)
        self._first_content = bank.slot(FIRST_CONTENT.name)
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
        self._process = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._process)

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

    def watch_connections(self, counts: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        """Ask ``counts`` for the connections by upstream and state (connecting, idle, active) at each exposition."""
        self._counts = counts

    def loop_lagged(self, seconds: float) -> None:
        """The loop ran something this much later than it was due."""
        self._bank.observe_seconds(self._loop_lag, seconds)

    def log_lines_dropped(self, lines: int) -> None:
        """The access log lost lines."""
        self._bank.add(self._log_dropped, lines)

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
        if row.left:
            slots.append(self._bank.slot(DISCONNECTS.name, row.left))
            values.append(1)
        self._bank.record(slots, values)

    def exposition(self) -> bytes:
        """Everything for ``GET /metrics``: the bank, then what the process says of itself.

        The bank is rendered without the interpreter lock: called in a thread, it does not hold up the loop.
        """
        for (upstream, state), count in self._counts().items():
            self._bank.set(self._bank.slot(CONNECTIONS.name, upstream, state), count)
        return self._bank.render() + generate_latest(self._process)

    def _learn(self, key: _Key) -> _Slots:
        upstream = key[2]
        known = _Slots(self._bank, key, self._providers.get(upstream, upstream) or OTHER, self._always)
        if len(self._known) < _KNOWN:
            self._known[key] = known
        return known
