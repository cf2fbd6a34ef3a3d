"""The JSON Schema that ``$schema`` of a prefixed mount's answers points to: the API page's answer, field by field."""

from __future__ import annotations

import json

_TOOL_CALL = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "type": {"type": "string"},
        "function": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "arguments": {"type": "string"}},
        },
    },
}
_MESSAGE = {
    "type": "object",
    "properties": {
        "content": {},
        "tool_call_id": {"type": "string"},
        "tool_calls": {"type": "array", "items": _TOOL_CALL},
    },
}
_CHOICE = {
    "type": "object",
    "properties": {
        "finish_reason": {"type": ["string", "null"]},
        "index": {"type": "integer", "format": "int64"},
        "delta": _MESSAGE,
        "message": _MESSAGE,
    },
}
_USAGE = {
    "type": "object",
    "description": "Usage statistics for the chat completion.",
    "properties": {
        name: {"type": "integer", "format": "int64"} for name in ("completion_tokens", "prompt_tokens", "total_tokens")
    },
}


def chat_completion_schema(address: str | None) -> bytes:
    """Write the schema; ``address`` is its own URL where one is configured. Upstreams may add members."""
    schema: dict[str, object] = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    if address is not None:
        schema["$id"] = address
    schema |= {
        "title": "ChatCompletion",
        "type": "object",
        "required": ["choices", "created", "model", "object"],
        "properties": {
            "$schema": {"type": "string", "format": "uri", "readOnly": True},
            "choices": {
                "type": "array",
                "minItems": 1,
                "description": "A list of chat completions from the model.",
                "items": _CHOICE,
            },
            "created": {
                "type": "integer",
                "format": "int64",
                "description": "The Unix timestamp (in seconds) when the completion was created.",
            },
            "model": {"type": "string", "description": "The model used for the chat completion."},
            "object": {"type": "string", "enum": ["chat.completion", "chat.completion.chunk"]},
            "usage": _USAGE,
        },
    }
    return json.dumps(schema).encode()
