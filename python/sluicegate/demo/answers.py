"""What the demo upstream says when no script is given: one text, in the words of each wire dialect.

Counts are derived from the request's own text, so that they vary: a token is a word or a sign.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sluicegate.demo.requests import Received
from sluicegate.demo.scripts import Pause, Piece, Script, json_answer, respond

TEXT = (
    "A sluice gate is a simple thing: a wall that knows how to move. Raise it a little and the water runs; lower it, "
    "and the river waits. What makes it useful is the keeper beside it, who watches the level, opens for those who "
    "may pass, and writes every bucket into a book. This gateway does the same for words."
)
MODELS = ("demo-small", "demo-large")


@dataclass(frozen=True)
class Usage:
    """Tokens of one answer; `cached` is a part of `prompt`."""

    prompt: int
    completion: int
    cached: int

    @property
    def total(self) -> int:
        """Prompt and completion."""
        return self.prompt + self.completion


def texts(value: Any) -> Iterator[str]:
    """Every text a person wrote into a request: strings under content, text, input, prompt and the like."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key in ("content", "text", "input", "prompt", "messages", "instructions", "system"):
            if key in value:
                yield from texts(value[key])
    elif isinstance(value, list):
        for member in value:
            yield from texts(member)


def count(text: str) -> int:
    """Words and signs in a text."""
    return len(re.findall(r"\w+|[^\w\s]", text))


@dataclass(frozen=True)
class Answer:
    """One answer before it is spelled in a dialect."""

    ident: str
    created: int
    model: str
    words: tuple[str, ...]
    finish: str
    usage: Usage

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.words)


def compose(body: Mapping[str, Any], number: int) -> Answer:
    """The answer to a request: the text, cut to the request's token limit, with its usage."""
    words = tuple(re.findall(r"\s*\S+", TEXT))
    limit = next(
        (body[key] for key in ("max_completion_tokens", "max_tokens", "max_output_tokens") if body.get(key)), None
    )
    finish = "stop"
    if isinstance(limit, int) and limit < len(words):
        words, finish = words[:limit], "length"
    prompt = sum(3 + count(text) for text in texts(body)) + 3
    cached = prompt // 128 * 128 if prompt >= 1024 else 0
    usage = Usage(prompt=prompt, completion=len(words), cached=cached)
    return Answer(f"demo-{number:06}", int(time.time()), str(body.get("model")), words, finish, usage)


def data(payload: Mapping[str, Any]) -> bytes:
    """An event with nothing but data."""
    return b"data: %s\n\n" % json.dumps(payload, separators=(",", ":")).encode()


def named(payload: Mapping[str, Any]) -> bytes:
    """An event named by its payload's `type`."""
    return b"event: %s\n%s" % (str(payload["type"]).encode(), data(payload))


def chat_usage(usage: Usage) -> dict[str, Any]:
    """Usage as chat completions spell it."""
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.total,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _completion_events(answer: Answer, body: Mapping[str, Any], chat: bool) -> Iterator[bytes]:
    kind = "chat.completion.chunk" if chat else "text_completion"
    wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    envelope = {"id": f"{'chatcmpl' if chat else 'cmpl'}-{answer.ident}", "object": kind, "created": answer.created}

    def event(choices: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> bytes:
        payload = {**envelope, "model": answer.model, "choices": choices}
        return data({**payload, "usage": usage} if wants_usage else payload)

    def choice(text: str | None, finish: str | None = None, role: str | None = None) -> list[dict[str, Any]]:
        if not chat:
            return [{"index": 0, "text": text or "", "logprobs": None, "finish_reason": finish}]
        delta = {} if text is None else {"content": text}
        if role:
            delta = {"role": role, **delta}
        return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]

    if chat:
        yield event(choice("", role="assistant"))
    for word in answer.words:
        yield event(choice(word))
    yield event(choice(None, finish=answer.finish))
    if wants_usage:
        yield event([], chat_usage(answer.usage))
    yield b"data: [DONE]\n\n"


def _completion_body(answer: Answer, chat: bool) -> dict[str, Any]:
    said = (
        {"message": {"role": "assistant", "content": answer.text, "refusal": None}} if chat else {"text": answer.text}
    )
    return {
        "id": f"{'chatcmpl' if chat else 'cmpl'}-{answer.ident}",
        "object": "chat.completion" if chat else "text_completion",
        "created": answer.created,
        "model": answer.model,
        "choices": [{"index": 0, **said, "logprobs": None, "finish_reason": answer.finish}],
        "usage": chat_usage(answer.usage),
    }


def _response_object(answer: Answer, status: str) -> dict[str, Any]:
    done = status != "in_progress"
    content = [{"type": "output_text", "text": answer.text, "annotations": []}]
    message = {
        "id": f"msg_{answer.ident}",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": content,
    }
    usage = {
        "input_tokens": answer.usage.prompt,
        "input_tokens_details": {"cached_tokens": answer.usage.cached},
        "output_tokens": answer.usage.completion,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": answer.usage.total,
    }
    return {
        "id": f"resp_{answer.ident}",
        "object": "response",
        "created_at": answer.created,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "model": answer.model,
        "output": [message] if done else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": usage if done else None,
    }


def _response_events(answer: Answer) -> Iterator[bytes]:
    status = "incomplete" if answer.finish == "length" else "completed"
    item = f"msg_{answer.ident}"
    place = {"item_id": item, "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "text": "", "annotations": []}
    final = _response_object(answer, status)
    opening = {"id": item, "type": "message", "status": "in_progress", "role": "assistant", "content": []}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": _response_object(answer, "in_progress")},
        {"type": "response.in_progress", "response": _response_object(answer, "in_progress")},
        {"type": "response.output_item.added", "output_index": 0, "item": opening},
        {"type": "response.content_part.added", **place, "part": part},
        *({"type": "response.output_text.delta", **place, "delta": word} for word in answer.words),
        {"type": "response.output_text.done", **place, "text": answer.text},
        {"type": "response.content_part.done", **place, "part": {**part, "text": answer.text}},
        {"type": "response.output_item.done", "output_index": 0, "item": final["output"][0]},
        {"type": f"response.{status}", "response": final},
    ]
    return (named({**event, "sequence_number": number}) for number, event in enumerate(events))


def _message_object(answer: Answer, done: bool) -> dict[str, Any]:
    usage = {
        "input_tokens": answer.usage.prompt - answer.usage.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": answer.usage.cached,
        "output_tokens": answer.usage.completion if done else 1,
    }
    return {
        "id": f"msg_{answer.ident}",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": [{"type": "text", "text": answer.text}] if done else [],
        "stop_reason": _stop_reason(answer) if done else None,
        "stop_sequence": None,
        "usage": usage,
    }


def _stop_reason(answer: Answer) -> str:
    return "max_tokens" if answer.finish == "length" else "end_turn"


def _message_events(answer: Answer) -> Iterator[bytes]:
    yield named({"type": "message_start", "message": _message_object(answer, done=False)})
    yield named({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    yield named({"type": "ping"})
    for word in answer.words:
        yield named({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}})
    yield named({"type": "content_block_stop", "index": 0})
    stop = {"stop_reason": _stop_reason(answer), "stop_sequence": None}
    yield named({"type": "message_delta", "delta": stop, "usage": {"output_tokens": answer.usage.completion}})
    yield named({"type": "message_stop"})


def _refusal(status: int, message: str, param: str | None = None, code: str | None = None) -> Script:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return json_answer({"error": error}, status=status)


def _paced(events: Iterator[bytes], pace: float) -> Iterator[Piece]:
    for event in events:
        if pace:
            yield Pause(pace)
        yield event


def answer(request: Received, number: int, pace: float = 0.0, api_key: str | None = None) -> Script:
    """The script for a request that nothing else was scripted for.

    `number` makes ids unique; `pace` is the time between two events of a stream (seconds); with `api_key` the request
    must carry it, as a bearer or as `x-api-key`.
    """
    if api_key is not None and api_key not in (
        request.header("x-api-key"),
        (request.header("authorization") or "")[7:],
    ):
        return _refusal(401, "Incorrect API key provided.", code="invalid_api_key")
    path = request.target.partition("?")[0].rstrip("/")
    if request.method == "GET" and path.endswith("/models"):
        entries = [{"id": name, "object": "model", "created": 1700000000, "owned_by": "demo"} for name in MODELS]
        return json_answer({"object": "list", "data": entries})
    if request.method != "POST":
        return _refusal(405, f"Not allowed: {request.method}.")
    try:
        body = json.loads(request.body)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return _refusal(400, "We could not parse the JSON body of your request.")
    stream = body.get("stream") is True
    reply = compose(body, number)
    named_id = [("x-request-id", f"req_{reply.ident}")]
    chat = path.endswith("/chat/completions")
    if chat or path.endswith("/completions"):
        if body.get("stream_options") is not None and not stream:
            message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
            return _refusal(400, message, param="stream_options")
        events, whole = _completion_events(reply, body, chat), _completion_body(reply, chat)
    elif path.endswith("/responses"):
        status = "incomplete" if reply.finish == "length" else "completed"
        events, whole = _response_events(reply), _response_object(reply, status)
    elif path.endswith("/messages"):
        events, whole = _message_events(reply), _message_object(reply, done=True)
    else:
        return _refusal(404, f"Invalid URL ({request.method} {path}).")
    if stream:
        return respond(*_paced(events, pace), headers=named_id)
    return json_answer(whole, headers=named_id)
