"""What the scripted upstreams of the tests say: small answers in providers' words, byte for byte."""

from __future__ import annotations

from typing import Any

FIGURES = {"input": 11, "output": 7, "total": 18}
USAGE = '{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}'
EARLY = '{"prompt_tokens":11,"completion_tokens":1,"total_tokens":12}'


def event(text: str | None = None, finish: str | None = None, **members: Any) -> bytes:
    """A chat event in a provider's words; `members` are added to its top level as JSON text."""
    delta = "{}" if text is None else f'{{"content":"{text}"}}'
    reason = "null" if finish is None else f'"{finish}"'
    extra = "".join(f',"{name}":{value}' for name, value in members.items())
    return (
        'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m-1",'
        f'"choices":[{{"index":0,"delta":{delta},"finish_reason":{reason}}}]{extra}}}\n\n'
    ).encode()


USAGE_EVENT = (
    'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[],'
    f'"usage":{USAGE}}}\n\n'
).encode()
HELLO, WORLD, FINISH, DONE = event("Hello"), event(" world"), event(finish="stop"), b"data: [DONE]\n\n"
GOOD = (HELLO, WORLD, FINISH, USAGE_EVENT, DONE)
ANSWER = (
    '{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m-1","choices":[{"index":0,"message":'
    f'{{"role":"assistant","content":"Hello"}},"finish_reason":"stop"}}],"usage":{USAGE}}}'
).encode()
DELTA = b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"Hi"}\n\n'
