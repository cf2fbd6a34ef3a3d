"""What differs between wire dialects on the way through: how their streams end, and how an upstream is asked."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Wire:
    """One wire dialect.

    ``done``: the sentinel event that ends a stream; empty where there is none. ``tidy``: its SDKs stumble over byte
    order marks, `id:` and `retry:` lines. ``asks_for_usage``: streams are asked for usage with
    ``stream_options.include_usage``. ``family``: whose credential headers it wants; empty: the upstream's own.
    """

    done: bytes = b""
    tidy: bool = False
    asks_for_usage: bool = False
    family: str = ""


_CHAT = Wire(done=b"data: [DONE]\n\n", tidy=True, asks_for_usage=True)
_PLAIN = Wire()
_WIRES: Mapping[str, Wire] = MappingProxyType(
    {"openai-chat": _CHAT, "openai-completions": _CHAT, "anthropic-messages": Wire(family="anthropic")}
)


def wire(dialect: str) -> Wire:
    """The row of a wire dialect; one without peculiarities for those that have none."""
    return _WIRES.get(dialect, _PLAIN)
