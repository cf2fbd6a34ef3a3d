"""Settings of where requests come in and go: upstreams, models and their targets, mounts."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

import msgspec

from sluicegate.config.allowances import UNLIMITED, Allowance
from sluicegate.config.bounds import ModelTimeouts, TargetTimeouts, Timeouts
from sluicegate.config.readers import base_url, choice, header_name, label, path_prefix, secret, text, whole
from sluicegate.config.setting import Setting
from sluicegate.config.values import BaseUrl, Secret

#: Which API pages a mount may speak as.
PROFILES: tuple[str, ...] = ("openai", "transparent", "prefixed", "bifrost", "caicaini")
#: Upstream dialects that an endpoint relays.
RELAYED: tuple[str, ...] = ("openai", "anthropic")
#: Seconds an unused connection to a plain upstream on this machine is kept: such servers close theirs after 5.
LOOPBACK_POOL_IDLE = 4.0

#: A target's share under ``routing: weight``, if it says none.
DEFAULT_WEIGHT = 1

Dialect = Literal["openai", "anthropic", "gemini", "cohere"]


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """One of several credentials at an upstream."""

    name: Annotated[str, Setting("what rows call it; unique at its upstream", label)]
    api_key: Annotated[Secret | None, Setting("the credential, sent as the upstream's dialect says", secret, "secret")]
    weight: Annotated[int, Setting("how many turns it takes beside the others", whole(1, 1000), "turns")] = 1


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
    credentials: Annotated[
        tuple[Credential, ...],
        Setting("several credentials instead of `api_key`, taken in turns; one that is refused rests", default="none"),
    ] = ()
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
            "`never` leaves it as the caller sent it; `learn` sets it until a target refuses it",
            choice("choice", "inject", "never", "learn"),
        ),
    ] = "inject"
    concurrency: Annotated[
        int | None,
        Setting("requests in flight to it; then they queue", whole(1), "requests", default="`limits.per_upstream`"),
    ] = None
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
    recoverable: Annotated[
        tuple[Literal["context_length", "stream_options"], ...],
        Setting(
            "refusals (400) that send a request on to the next target: `context_length`, `stream_options`",
            choice("refusal", "context_length", "stream_options"),
            default="none",
        ),
    ] = ()
    weight: Annotated[
        int,
        Setting(
            "its share of the requests under `routing: weight`; 0: only when all others failed or are left alone",
            whole(0),
        ),
    ] = DEFAULT_WEIGHT
    timeouts: Annotated[TargetTimeouts | None, Setting("durations of this target's own", default="the model's")] = None
    times: Timeouts = Timeouts()
    """All durations as they hold for it."""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model as callers name it, or all models below a prefix."""

    targets: Annotated[
        tuple[Target, ...], Setting("where its requests go: to the first, and where it fails to the next")
    ]
    routing: Annotated[
        Literal["order", "weight", "least_loaded"],
        Setting(
            "which target is tried first: `order`: the first that is not left alone; `weight`: by chance, "
            "in proportion; `least_loaded`: of two by chance, the one that answers sooner and has less to do",
            choice("choice", "order", "weight", "least_loaded"),
        ),
    ] = "order"
    max_output: Annotated[
        int | None,
        Setting(
            "most tokens it writes; reserved at admission where tokens are limited",
            whole(1, 1 << 40),
            "tokens",
        ),
    ] = None
    limits: Annotated[Allowance, Setting("limits of all callers of this model together", default="none")] = UNLIMITED
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
    timeouts: Annotated[ModelTimeouts | None, Setting("durations of this model's own", default="`timeouts`")] = None
    times: Timeouts = Timeouts()
    """All durations as they hold for its requests; a target may have others."""


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """A path prefix and the API page it speaks as."""

    prefix: Annotated[str, Setting("the path before `/chat/completions`; `/` for none", path_prefix, "path")]
    profile: Annotated[
        str,
        Setting(
            "openai, transparent, prefixed, bifrost or caicaini",
            choice("profile", *PROFILES),
        ),
    ] = "openai"
    public_url: Annotated[
        BaseUrl | None,
        Setting(
            "where clients see this mount; names the `$schema` of answers; without it there is none", base_url, "URL"
        ),
    ] = None
