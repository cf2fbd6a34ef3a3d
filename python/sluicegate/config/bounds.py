"""Settings of how long anything may take and how large it may be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec

from sluicegate.config.readers import seconds, size, whole
from sluicegate.config.setting import Setting


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Durations in seconds."""

    connect: Annotated[
        float,
        Setting(
            "name, TCP and TLS of one connection to an upstream; then 504 `upstream_connect_timeout`", seconds(), "s"
        ),
    ] = 5.0
    header: Annotated[
        float, Setting("a client's request head from its first byte on; then the connection is closed", seconds(), "s")
    ] = 10.0
    body: Annotated[float, Setting("a client's whole request body; then 408 `request_timeout`", seconds(), "s")] = 60.0
    first_content: Annotated[
        float,
        Setting(
            "a stream's first content, from the request sent; comments do not count; then 504 `upstream_timeout`",
            seconds(),
            "s",
        ),
    ] = 600.0
    idle: Annotated[
        float,
        Setting(
            "silence inside a stream; any byte resets it; then the stream ends with the error event `upstream_stalled`",
            seconds(),
            "s",
        ),
    ] = 300.0
    total: Annotated[
        float,
        Setting("one request, whole; then 504, or inside a stream the error event, `total_timeout`", seconds(), "s"),
    ] = 3600.0
    write: Annotated[
        float,
        Setting("a client that does not read; then both its connection and the upstream's are dropped", seconds(), "s"),
    ] = 60.0
    heartbeat: Annotated[
        float,
        Setting(
            "a stream's silence before a comment breaks it; 0 or null for none, as on `transparent` mounts",
            seconds(zero=True),
            "s",
            null=0,
        ),
    ] = 15.0
    pool_idle: Annotated[
        float | None,
        Setting(
            "an unused connection to an upstream; then it is closed",
            seconds(),
            "s",
            "30; 4 for plain upstreams on loopback",
        ),
    ] = None
    done_grace: Annotated[
        float,
        Setting(
            "from the last finish reason (or terminal event) to `[DONE]` (or EOF); then the stream is ended properly",
            seconds(zero=True),
            "s",
        ),
    ] = 5.0
    drain: Annotated[
        float,
        Setting(
            "running exchanges after SIGTERM; then streams end with the error event `gateway_draining`",
            seconds(zero=True),
            "s",
        ),
    ] = 60.0
    drain_delay: Annotated[
        float,
        Setting(
            "from SIGTERM (readiness 503) to the end of accepting; a second signal ends at once",
            seconds(zero=True),
            "s",
        ),
    ] = 0.0


_ALL = "`timeouts.{}`"
_MODELS = "the model's"


def _own(name: str, read: Callable[[object], float], *, whose: str, null: object = None) -> Setting:
    return Setting(f"`timeouts.{name}` for it alone", read, "s", default=whose.format(name), null=null)


class TargetTimeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Durations in seconds that one target has for itself. What it does not say is its model's."""

    connect: Annotated[float | None, _own("connect", seconds(), whose=_MODELS)] = None
    first_content: Annotated[float | None, _own("first_content", seconds(), whose=_MODELS)] = None
    idle: Annotated[float | None, _own("idle", seconds(), whose=_MODELS)] = None
    done_grace: Annotated[float | None, _own("done_grace", seconds(zero=True), whose=_MODELS)] = None


class ModelTimeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Durations in seconds that one model has for itself. What it does not say is everybody's.

    ``total`` and ``heartbeat`` are its clients', whichever target is asked: targets have none of their own.
    """

    connect: Annotated[float | None, _own("connect", seconds(), whose=_ALL)] = None
    first_content: Annotated[float | None, _own("first_content", seconds(), whose=_ALL)] = None
    idle: Annotated[float | None, _own("idle", seconds(), whose=_ALL)] = None
    total: Annotated[float | None, _own("total", seconds(), whose=_ALL)] = None
    done_grace: Annotated[float | None, _own("done_grace", seconds(zero=True), whose=_ALL)] = None
    heartbeat: Annotated[float | None, _own("heartbeat", seconds(zero=True), whose=_ALL, null=0)] = None


def narrowed(times: Timeouts, own: ModelTimeouts | TargetTimeouts | None) -> Timeouts:
    """Put what a model or a target has for itself in the place of what it would have without."""
    if own is None:
        return times
    said = {name: value for name in own.__struct_fields__ if (value := getattr(own, name)) is not None}
    return msgspec.structs.replace(times, **said)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in bytes, and counts."""

    head: Annotated[int, Setting("a client's request head; then 431 `headers_too_large`", size(1 << 10), "bytes")] = (
        32 << 10
    )
    body: Annotated[
        int,
        Setting("a client's request body; then 413 `request_too_large`, without reading on", size(1 << 10), "bytes"),
    ] = 64 << 20
    bodies_total: Annotated[
        int,
        Setting(
            "all request bodies in memory together; then 503 `gateway_overloaded` with Retry-After",
            size(1 << 20),
            "bytes",
        ),
    ] = 1 << 30
    event: Annotated[
        int,
        Setting(
            "one event of a stream that must be rewritten; then the error event `upstream_event_too_large`; "
            "others pass unparsed and are counted",
            size(1 << 10),
            "bytes",
        ),
    ] = 16 << 20
    held: Annotated[
        int,
        Setting(
            "what is held back of a stream before its first content; then it is the client's as it is",
            size(1 << 10),
            "bytes",
        ),
    ] = 256 << 10
    held_total: Annotated[
        int,
        Setting(
            "all held bytes together; then new requests get 503 `gateway_overloaded` with Retry-After",
            size(1 << 20),
            "bytes",
        ),
    ] = 512 << 20
    error_body: Annotated[int, Setting("an upstream's error body; the rest is not read", size(1 << 10), "bytes")] = (
        64 << 10
    )
    answer: Annotated[
        int,
        Setting("an upstream's whole (not streamed) answer; then 502 `upstream_too_large`", size(1 << 10), "bytes"),
    ] = 64 << 20
    connections: Annotated[
        int,
        Setting(
            "clients' connections, or half of what open files allow, if that is less; requests on more are answered "
            "503 `gateway_overloaded` with Retry-After, and far more dropped",
            whole(1),
            "connections",
        ),
    ] = 10_000
    per_upstream: Annotated[
        int, Setting("requests in flight to one upstream; then they queue", whole(1), "requests")
    ] = 1000
    queue: Annotated[
        int,
        Setting(
            "requests waiting for one upstream, each for `timeouts.connect` at most; then 503 `upstream_queue_full` "
            "with Retry-After",
            whole(0),
            "requests",
        ),
    ] = 1000
