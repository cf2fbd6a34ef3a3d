"""Every series the gateway shows: one table.

Rules:

- A series that is not in :data:`SERIES` does not exist; the README's table is compared with it.
- Labels say what the *configuration* says: ``model`` is a configured name, a wildcard's pattern or ``_other``,
  ``target`` likewise. No string of a client's or an upstream's becomes a label.
- Whatever comes beyond a family's ``cap`` is counted under ``_other``, and that is counted too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]
#: Name, kind, help, labels, buckets, cap.
Row = tuple[str, str, str, tuple[str, ...], tuple[float, ...], int]

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
    """One row of the table. Buckets are in the unit the name says; ``cap`` is how many label sets there may be.

    Several workers' values are summed. A gauge that they all say ``alike`` (a version, a limit) is not: of those the
    largest is shown.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    cap: int = 0
    alike: bool = False

    @property
    def row(self) -> Row:
        """The series as the native bank's table has it."""
        return (self.name, "level" if self.alike else self.kind, self.help, self.labels, self.buckets, self.cap)


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
RETRIES = Series(
    "sluicegate_retries_total",
    "counter",
    "Further attempts of a request at the same target: in place, or with another credential. "
    "reason is the error_type of the attempt before.",
    ("upstream", "reason"),
    cap=1024,
)
FALLBACKS = Series(
    "sluicegate_fallbacks_total",
    "counter",
    "Requests that moved on to another target. reason is the error_type of the attempt before.",
    ("model", "from", "to", "reason"),
    cap=2048,
)
FALLBACKS_SKIPPED = Series(
    "sluicegate_fallbacks_skipped_total",
    "counter",
    "Fallbacks a caller named that cannot be: unknown_model, not_allowed, other_dialect or too_many.",
    ("model", "reason"),
    cap=512,
)
HEARTBEATS = Series(
    "sluicegate_heartbeats_total",
    "counter",
    "Comments that broke a stream's silence, of requests that ended.",
)
CONNECTIONS = Series(
    "sluicegate_upstream_connections",
    "gauge",
    "Connections to upstreams: connecting, idle or active.",
    ("upstream", "state"),
    cap=768,
)
TARGET_STATE = Series(
    "sluicegate_target_state",
    "gauge",
    "1 for the state a target is in: closed (in use), open (left alone) or half_open (one request probes it).",
    ("target", "state"),
    cap=3072,
)
TARGET_CHANGES = Series(
    "sluicegate_target_transitions_total",
    "counter",
    "Times a target came into a state.",
    ("target", "state"),
    cap=3072,
)
WAITING = Series(
    "sluicegate_waiting_requests",
    "gauge",
    "Requests that wait for a target, since all of their model's are left alone (health.all_down: wait).",
)
REFUSED = Series(
    "sluicegate_refused_requests_total",
    "counter",
    "Requests refused before they had a row. status 0: a connection was dropped without an answer.",
    ("status", "error_type"),
    cap=256,
)
CLIENTS = Series("sluicegate_client_connections", "gauge", "Clients' connections.")
BODIES = Series("sluicegate_request_body_bytes", "gauge", "Request bodies in memory (those above 16 KiB).")
HELD = Series("sluicegate_held_bytes", "gauge", "What is held in memory of upstreams' answers.")
TASKS = Series("sluicegate_tasks", "gauge", "Tasks of the event loop: one per connection, and a few.")
LOOP_LAG = Series(
    "sluicegate_loop_lag_seconds",
    "histogram",
    "How late the event loop runs what is due.",
    buckets=_LAG,
)
LIMIT_REFUSED = Series(
    "sluicegate_limit_refusals_total",
    "counter",
    "Requests that a limit refused: of a key, a group or a model, by what it limits.",
    ("scope", "kind"),
    cap=16,
)
LIMITS_ASKED = Series(
    "sluicegate_limit_authority_seconds",
    "histogram",
    "How long the supervisor or Redis takes to answer about limits.",
    buckets=_SHORT,
)
LIMITS_FAILED = Series(
    "sluicegate_limit_authority_failures_total",
    "counter",
    "Questions about limits that were not answered: timeout or error.",
    ("reason",),
    cap=2,
)
LIMITS_UNAVAILABLE = Series(
    "sluicegate_limit_unavailable_total",
    "counter",
    "Requests that limits_unavailable decided: allow or deny.",
    ("decision",),
    cap=2,
)
KEYS = Series("sluicegate_keys", "gauge", "Keys of the store that are good, as each worker knows them.", alike=True)
KEYS_AGE = Series(
    "sluicegate_keys_age_seconds",
    "gauge",
    "How long ago the store last told its keys: of all workers the longest.",
    alike=True,
)
KEYS_UNAVAILABLE = Series(
    "sluicegate_keys_unavailable_total",
    "counter",
    "Requests that keys_unavailable decided: allow or deny.",
    ("decision",),
    cap=2,
)
BUILD_INFO = Series(
    "sluicegate_build_info",
    "gauge",
    "Always 1; version and profile (release or debug) of what runs.",
    ("version", "profile"),
    cap=1,
    alike=True,
)
WORKERS = Series("sluicegate_workers", "gauge", "Workers that serve; those that drain are not among them.")
WORKER_DEATHS = Series("sluicegate_worker_deaths_total", "counter", "Workers that ended without having been told to.")

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

LEDGER_ROWS = Series(
    "sluicegate_ledger_rows_total",
    "counter",
    "Rows written into the store.",
)
LEDGER_LOST = Series(
    "sluicegate_ledger_rows_lost_total",
    "counter",
    "Rows that are lost: spool (it was full, and `drop` is configured, or the disk failed too long) or damaged.",
    ("reason",),
    cap=2,
)
LEDGER_SPOOL = Series("sluicegate_ledger_spool_bytes", "gauge", "What the files of waiting rows take.")
LEDGER_LATE = Series("sluicegate_ledger_late_rows", "gauge", "Rows that wait in memory for a disk that takes none.")
LEDGER_STORE = Series("sluicegate_ledger_store_up", "gauge", "1 while the store does what it is asked, else 0.")

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
    HEARTBEATS,
    REFUSED,
    CLIENTS,
    BODIES,
    HELD,
    RETRIES,
    FALLBACKS,
    FALLBACKS_SKIPPED,
    TASKS,
    CONNECTIONS,
    TARGET_STATE,
    TARGET_CHANGES,
    WAITING,
    LOOP_LAG,
    LIMIT_REFUSED,
    LIMITS_ASKED,
    LIMITS_FAILED,
    LIMITS_UNAVAILABLE,
    KEYS,
    KEYS_AGE,
    KEYS_UNAVAILABLE,
    GEN_AI_DURATION,
    GEN_AI_FIRST,
    GEN_AI_PER_TOKEN,
    GEN_AI_USAGE,
    LEDGER_ROWS,
    LEDGER_LOST,
    LEDGER_SPOOL,
    LEDGER_LATE,
    LEDGER_STORE,
    LOG_DROPPED,
    SETS_DROPPED,
    BUILD_INFO,
    WORKERS,
    WORKER_DEATHS,
)
