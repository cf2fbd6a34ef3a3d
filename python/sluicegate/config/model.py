"""Every setting: its name, type, default, unit, and what happens at the limit.

Rules: a field with a :class:`Setting` may stand in the file; a field without one is worked out from the others when the
file is loaded. All structs are frozen; :class:`Settings` is the one immutable snapshot that a request keeps from its
start to its end. The settings table of the README is printed from here (:mod:`sluicegate.config.table`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import ssl
from types import MappingProxyType
from typing import Annotated, Any, Literal

import msgspec

from sluicegate.config.readers import (
    access_key,
    address,
    base_url,
    choice,
    header_name,
    label,
    model_name,
    path_prefix,
    seconds,
    secret,
    size,
    text,
    whole,
)
from sluicegate.config.values import Address, BaseUrl, Secret

#: Which API pages a mount may speak as, and what is missing before it may ("" where nothing is).
PROFILES: Mapping[str, str] = MappingProxyType(
    {
        "openai": "",
        "transparent": "",
        "prefixed": "",
        "bifrost": "the `fallbacks` field, `extra_fields` and its error shape are missing",
        "caicaini": "credits, its error envelope and its finish reasons are missing",
    }
)
#: Upstream dialects that an endpoint relays.
RELAYED: tuple[str, ...] = ("openai", "anthropic")
#: Seconds an unused connection to a plain upstream on this machine is kept: such servers close theirs after 5.
LOOPBACK_POOL_IDLE = 4.0
DEFAULT_STORE = "sqlite:///sluicegate.db"

Dialect = Literal["openai", "anthropic", "gemini", "cohere"]


class Setting(msgspec.Struct, frozen=True):
    """What a field says of itself: what it is and what happens at the limit, its unit, and how its value is read.

    ``read`` is None where the field's type says all: a struct, a mapping of structs by name, or a list of them.
    ``name`` reads the names of such a mapping. ``default`` is how the table shows a default that is not a plain value.
    """

    about: str
    read: Callable[[object], Any] | None = None
    unit: str = ""
    default: str = ""
    name: Callable[[object], str] = text


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """TLS towards clients."""

    cert: Annotated[str, Setting("PEM file of the certificate and its chain", text, "file")]
    key: Annotated[str, Setting("PEM file of its key, without a password", text, "file")]
    context: ssl.SSLContext | None = None
    """The two files as loaded."""


class Upstream(msgspec.Struct, frozen=True, kw_only=True):
    """One provider's API, or one server."""

    dialect: Annotated[
        Dialect,
        Setting(
            "how it is spoken to: openai, anthropic, gemini or cohere",
            choice("dialect", "openai", "anthropic", "gemini", "cohere"),
        ),
    ]
    base_url: Annotated[
        BaseUrl,
        Setting(
            "http or https, host, maybe a port and a path prefix; no trailing slash, user or query", base_url, "URL"
        ),
    ]
    api_key: Annotated[
        Secret | None,
        Setting("our credential there, sent as its dialect says; without it none is sent", secret, "secret"),
    ] = None
    headers: Annotated[
        Mapping[str, Secret],
        Setting(
            "headers added to each request; a framing or credential header that we set is refused",
            secret,
            name=header_name,
        ),
    ] = MappingProxyType({})
    ca_file: Annotated[str | None, Setting("PEM file of authorities trusted beside the system's", text, "file")] = None
    usage_request: Annotated[
        Literal["inject", "never", "learn"],
        Setting(
            "whether streams are asked for usage: `inject` sets `stream_options.include_usage`, "
            "`never` leaves it as the caller sent it; `learn` is not built yet: refused",
            choice("choice", "inject", "never", "learn"),
        ),
    ] = "inject"
    name: str = ""
    """Its name in the file."""
    ca_pem: bytes = b""
    """What ``ca_file`` holds."""
    pool_idle: float = 30.0
    """Seconds an unused connection to it is kept: ``timeouts.pool_idle``, or 4 for plain upstreams on loopback."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where a model's requests go."""

    upstream: Annotated[str, Setting("a name under `upstreams`", text)]
    model: Annotated[
        str, Setting("the model's name there; one `*` stands for what a name such as `openai/*` matched", text)
    ]


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model as callers name it, or all models below a prefix."""

    targets: Annotated[tuple[Target, ...], Setting("where its requests go; more than one is not built yet: refused")]
    max_output: Annotated[
        int | None,
        Setting(
            "most tokens it writes; reserved at admission once limits are built, until then a warning",
            whole(1, 1 << 40),
            "tokens",
        ),
    ] = None
    usage_event: Annotated[
        Literal["asked", "pass", "always"] | None,
        Setting(
            "`asked`: only who asked gets the usage event; `pass`: as the upstream sends it; `always`",
            choice("choice", "asked", "pass", "always"),
            default="the profile's",
        ),
    ] = None
    model_in_response: Annotated[
        Literal["provider", "requested"] | None,
        Setting(
            "whose model name stands in answers: the provider's or the one asked for",
            choice("choice", "provider", "requested"),
            default="the profile's",
        ),
    ] = None
    done: Annotated[
        Literal["ensure", "pass"] | None,
        Setting(
            "`ensure`: a finished stream without `[DONE]` gets one; `pass`: as the upstream ends it",
            choice("choice", "ensure", "pass"),
            default="the profile's",
        ),
    ] = None


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """A path prefix and the API page it speaks as."""

    prefix: Annotated[str, Setting("the path before `/chat/completions`; `/` for none", path_prefix, "path")]
    profile: Annotated[
        str,
        Setting(
            "openai, transparent or prefixed; bifrost and caicaini are not built yet: refused",
            choice("profile", *PROFILES),
        ),
    ] = "openai"
    public_url: Annotated[
        BaseUrl | None,
        Setting(
            "where clients see this mount; names the `$schema` of answers; without it there is none", base_url, "URL"
        ),
    ] = None


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A key that callers present."""

    name: Annotated[str, Setting("who it is, in rows and logs; unique", text)]
    key: Annotated[
        Secret, Setting("the key: 8 to 1024 visible ASCII characters; kept as a digest", access_key, "secret")
    ]
    models: Annotated[
        tuple[str, ...],
        Setting("names it may use; `*` for all, `openai/*` for all below; others are answered 403", model_name),
    ] = ("*",)
    requests_per_minute: Annotated[
        int | None, Setting("not enforced yet: a warning", whole(1, 1 << 40), "requests")
    ] = None
    concurrent_streams: Annotated[int | None, Setting("not enforced yet: a warning", whole(1, 1 << 40), "streams")] = (
        None
    )


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
            "silence before a keep-alive comment; not built yet: only 15 is accepted, and none is sent", seconds(), "s"
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


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in bytes, and counts."""

    head: Annotated[int, Setting("a client's request head; then 431 `headers_too_large`", size(1 << 10), "bytes")] = (
        32 << 10
    )
    body: Annotated[
        int,
        Setting("a client's request body; then 413 `request_too_large`, without reading on", size(1 << 10), "bytes"),
    ] = 64 << 20
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
        int, Setting("all held bytes together; then new streams get 503 `gateway_overloaded`", size(1 << 20), "bytes")
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
            "clients' connections; requests on more are answered 503 `gateway_overloaded`, and far more dropped",
            whole(1),
            "connections",
        ),
    ] = 10_000
    per_upstream: Annotated[
        int, Setting("requests in flight to one upstream; then they queue", whole(1), "requests")
    ] = 1000
    queue: Annotated[
        int, Setting("requests waiting for one upstream; then 503 `upstream_queue_full`", whole(0), "requests")
    ] = 1000


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration: one immutable snapshot."""

    listen: Annotated[
        Address,
        Setting("where clients connect; port 0 picks a free one; off loopback only with `keys`", address, "address"),
    ] = Address("127.0.0.1", 8080)
    admin: Annotated[
        Address, Setting("metrics, health and the admin API; off loopback only with `admin_token`", address, "address")
    ] = Address("127.0.0.1", 9090)
    admin_token: Annotated[
        Secret | None,
        Setting(
            "what the admin address wants as a bearer token, health apart; 8 visible characters at least",
            access_key,
            "secret",
        ),
    ] = None
    tls: Annotated[Tls | None, Setting("TLS towards clients; without it plain HTTP")] = None
    workers: Annotated[
        int, Setting("processes; more than 1 is not built yet: refused", whole(1, 1024), "processes")
    ] = 1
    store: Annotated[
        str, Setting("the ledger; not built yet: only the default is accepted, and nothing is written", text, "URL")
    ] = DEFAULT_STORE
    shared: Annotated[Secret | None, Setting("limits across machines; not built yet: refused", secret, "URL")] = None
    upstreams: Annotated[
        Mapping[str, Upstream], Setting("where requests may go, by name", default="required in a file", name=label)
    ] = MappingProxyType({})
    models: Annotated[
        Mapping[str, Model],
        Setting(
            "what callers may ask for: exact names, and `prefix/*` for all below; "
            "an exact name wins, then the longest prefix",
            default="required in a file",
            name=model_name,
        ),
    ] = MappingProxyType({})
    mounts: Annotated[
        tuple[Mount, ...], Setting("path prefixes and the API page each speaks as", default="`/v1` as openai")
    ] = (Mount(prefix="/v1"),)
    keys: Annotated[
        tuple[Key, ...],
        Setting("who may ask; without keys everyone on this machine may, and only loopback is bound", default="none"),
    ] = ()
    timeouts: Annotated[Timeouts, Setting("durations", default="below")] = Timeouts()
    limits: Annotated[Limits, Setting("sizes and counts", default="below")] = Limits()
    on_disconnect: Annotated[
        Literal["cancel", "finish"],
        Setting(
            "what becomes of the upstream's answer when the client leaves: `cancel` drops it; "
            "`finish` is not built yet: refused",
            choice("choice", "cancel", "finish"),
        ),
    ] = "cancel"
    version: str = ""
    """Twelve hexadecimal digits of the SHA-256 of the file as written: which configuration a row was made under."""
    warnings: tuple[str, ...] = ()
    """What stands in the file and has no effect yet."""
