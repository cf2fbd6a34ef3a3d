"""What is served: the API pages as rows of one table, the ways in below each mount, the headers that go through.

A profile is one row of the table in docs/CONTRACT.md; a mount (configuration) is a prefix that speaks as one of them.
This is the one module of the edge that knows vendors' names.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from sluicegate.exchange import Endpoint, Profile

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Every API page by the name that ``mounts[].profile`` uses.
PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            Profile(name="openai"),
            Profile(name="transparent", usage_event="pass", ensure_done=False, tidy=False, heartbeats=False),
            Profile(name="prefixed", fill_choices=True, strict_stream_options=True, schema=True),
            Profile(
                name="bifrost",
                usage_event="always",
                page="bifrost",
                consumes_fallbacks=True,
                key_header="x-bf-vk",
                raw_header="x-bf-send-back-raw-response",
            ),
            Profile(
                name="caicaini",
                model_in_answers="requested",
                usage_event="always",
                page="caicaini",
                credits=True,
                models="caicaini/",
            ),
        )
    }
)

#: The ways in below each mount's prefix. Operations are OpenTelemetry's ``gen_ai.operation.name``.
ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(name="chat_completions", operation="chat", dialect="openai-chat", path="/chat/completions"),
    Endpoint(name="completions", operation="text_completion", dialect="openai-completions", path="/completions"),
    Endpoint(name="responses", operation="chat", dialect="openai-responses", path="/responses"),
    Endpoint(name="messages", operation="chat", dialect="anthropic-messages", path="/messages"),
)

#: Request headers that an upstream gets from the caller, in lower case; all others stay here.
FORWARDED: frozenset[str] = frozenset(
    {
        "accept",
        "anthropic-beta",
        "anthropic-version",
        "content-type",
        "idempotency-key",
        "openai-beta",
        "x-client-request-id",
    }
)

#: In which shape errors are written where no endpoint is known: unknown paths, unreadable requests.
DEFAULT_DIALECT = "openai-chat"
