"""Rows as the gateway leaves them."""

from __future__ import annotations

from msgspec.structs import replace

from sluicegate.exchange import Attempt, Row, Tokens, Usage

USAGE = Usage(Tokens(100, 50, 20, 5, 10), "provider", "provider", (("prompt_tokens", 100), ("completion_tokens", 50)))

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
)


def row(**changes: object) -> Row:
    """A streamed request that went well, but for what is said."""
    return replace(STREAMED, **changes)
