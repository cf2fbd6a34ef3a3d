"""Rows as the gateway leaves them, and the exchanges they are left of."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
from msgspec.structs import replace

from sluicegate.exchange import Attempt, Endpoint, Exchange, Mount, Profile, Tokens, Usage
from sluicegate.telemetry.metrics import Metrics

USAGE = Usage(Tokens(100, 50, 20, 5, 10), "provider", "provider", (("prompt_tokens", 100), ("completion_tokens", 50)))


class Row(msgspec.Struct, frozen=True):
    """What is left of a request, by the names of the log's members. Durations in seconds."""

    id: str
    upstream_request_id: str
    endpoint: str
    operation: str
    stream: bool
    received_at: float
    duration: float
    caller: str
    group: str
    requested_model: str
    model: str
    target: str
    upstream: str
    upstream_model: str
    credential: str
    attempts: tuple[Attempt, ...]
    status: int
    error_code: str
    outcome: str
    usage: Usage
    time_to_first_content: float | None
    overhead: float
    bytes_in: int
    bytes_out: int
    upstream_bytes_in: int
    upstream_bytes_out: int
    events: int
    malformed_events: int
    heartbeats: int
    left: str
    reserved: int
    configuration: str
    cost: int | None
    credits: int | None
    price: str


STREAMED = Row(
    id="req_1",
    upstream_request_id="up_1",
    endpoint="chat_completions",
    operation="chat",
    stream=True,
    received_at=1763776451.25,
    duration=2.5,
    caller="dev",
    group="",
    requested_model="fast",
    model="fast",
    target="a/small",
    upstream="a",
    upstream_model="small",
    credential="default",
    attempts=(Attempt("a/small", "committed", 200, USAGE),),
    status=200,
    error_code="",
    outcome="finished",
    usage=USAGE,
    time_to_first_content=0.05,
    overhead=0.0002,
    bytes_in=300,
    bytes_out=9000,
    upstream_bytes_in=9500,
    upstream_bytes_out=400,
    events=40,
    malformed_events=0,
    heartbeats=0,
    left="",
    reserved=0,
    configuration="1",
    cost=None,
    credits=None,
    price="",
)
#: When every request here ends, in monotonic seconds.
ENDED = 100_000.0


def row(**changes: object) -> Row:
    """A streamed request that went well, but for what is said."""
    return replace(STREAMED, **changes)


def exchange(row: Row, sequence: int = 0) -> Exchange:
    """An exchange that a row is left of, if it ends at ``ENDED``."""
    client: Any = SimpleNamespace(bytes_in=row.bytes_in)
    received = ENDED - row.duration
    ended = Exchange(
        row.id,
        Endpoint(row.endpoint, row.operation, "openai-chat", "/chat/completions"),
        Mount("/v1", Profile("openai")),
        client,
        received,
        row.received_at,
        dispatched=received + row.overhead,
        answered=ENDED,
        attempts=list(row.attempts),
        sequence=sequence,
        reservation=SimpleNamespace(tokens=row.reserved) if row.reserved else None,
        priced=SimpleNamespace(version=row.price) if row.price else None,  # type: ignore[arg-type]
    )
    for name in Exchange.__struct_fields__:
        if name in ("endpoint", "attempts", "received_at") or name not in Row.__struct_fields__:
            continue
        setattr(ended, name, getattr(row, name))
    for attempt in row.attempts:
        if not attempt.decisive:
            ended.upstream_bytes_in -= attempt.bytes_in
            ended.upstream_bytes_out -= attempt.bytes_out
    return ended


def leave(metrics: Metrics, *rows: Row) -> None:
    """Requests that end as rows say."""
    left = metrics.rows("1", {})
    for one in rows:
        left.ended(exchange(one), ENDED)
