"""What a request asks, read from its body's bytes: the body itself is never parsed into objects nor written anew."""

from __future__ import annotations

import msgspec

from sluicegate._native import Ask, Refused
from sluicegate.errors import BadRequest

__all__ = ["FALLBACKS", "Ask", "fallbacks", "read"]

#: The member that names further models, where the profile consumes it.
FALLBACKS = "fallbacks"

#: Deepest nesting of a request body; real tool schemas stay below 30.
DEPTH = 512


def read(body: bytes, *, strict_stream_options: bool) -> Ask:
    """Read a whole request body. Raises BadRequest, which names the parameter and says what to change.

    ``strict_stream_options``: refuse ``stream_options`` without ``stream``, which OpenAI answers with 400 itself.
    """
    try:
        ask = Ask(body, DEPTH)
    except Refused as refused:
        code, param, message = refused.args
        raise BadRequest(code, message, param=param) from None
    if strict_stream_options and ask.has_stream_options and not ask.stream:
        message = "The parameter 'stream_options' is only allowed when 'stream' is true; leave it out."
        raise BadRequest("invalid_value", message, param="stream_options")
    return ask


class _Named(msgspec.Struct):
    fallbacks: list[str] | None = None


def fallbacks(body: bytes) -> list[str]:
    """The models that a body names as its fallbacks, in order. Raises BadRequest: they are no list of names."""
    try:
        return msgspec.json.decode(body, type=_Named).fallbacks or []
    except (msgspec.MsgspecError, ValueError, RecursionError):
        message = "The parameter 'fallbacks' must be a list of model names."
        raise BadRequest("invalid_type", message, param=FALLBACKS) from None
