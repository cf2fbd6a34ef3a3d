"""What the demo upstream says when no script is given: one text, in the words of each wire dialect.

Counts are derived from the request's own text, so that they vary: a token is a word or a sign.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
import json
import re
import time
from typing import TYPE_CHECKING, Any

from sluicegate.demo.scripts import Pause, Piece, Script, json_answer, respond

if TYPE_CHECKING:
    from sluicegate.demo.requests import Received

TEXT = (
    "A sluice gate is a simple thing: a wall that knows how to move. Raise it a little and the water runs; lower it, "
    "and the river waits. What makes it useful is the keeper beside it, who watches the level, opens for those who "
    "may pass, and writes every bucket into a book. This gateway does the same for words."
)
# Prompts from here on are cached in blocks of 128, as the best known provider does.
CACHED_FROM = 1024
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


def texts(value: object) -> Iterator[str]:
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
    cached = prompt // 128 * 128 if prompt >= CACHED_FROM else 0
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


@dataclass(frozen=True)
class Completions:
    """How the chat endpoint and its predecessor differ."""

    prefix: str
    event_object: str
    body_object: str
    chat: bool


CHAT = Completions("chatcmpl", "chat.completion.chunk", "chat.completion", chat=True)
TEXTS = Completions("cmpl", "text_completion", "text_completion", chat=False)


def _completion_events(kind: Completions, answer: Answer, body: Mapping[str, Any]) -> Iterator[bytes]:
    wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    envelope = {"id": f"{kind.prefix}-{answer.ident}", "object": kind.event_object, "created": answer.created}

    def event(choices: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> bytes:
        payload = {**envelope, "model": answer.model, "choices": choices}
        return data({**payload, "usage": usage} if wants_usage else payload)

    def choice(text: str | None, finish: str | None = None, role: str | None = None) -> list[dict[str, Any]]:
        if not kind.chat:
            return [{"index": 0, "text": text or "", "logprobs": None, "finish_reason": finish}]
        delta = {} if text is None else {"content": text}
        if role:
            delta = {"role": role, **delta}
        return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]

    if kind.chat:
        yield event(choice("", role="assistant"))
    for word in answer.words:
        yield event(choice(word))
    yield event(choice(None, finish=answer.finish))
    if wants_usage:
        yield event([], chat_usage(answer.usage))
    yield b"data: [DONE]\n\n"


def _completion_body(kind: Completions, answer: Answer) -> dict[str, Any]:
    said = (
        {"message": {"role": "assistant", "content": answer.text, "refusal": None}}
        if kind.chat
        else {"text": answer.text}
    )
    return {
        "id": f"{kind.prefix}-{answer.ident}",
        "object": kind.body_object,
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


def _response_status(answer: Answer) -> str:
    return "incomplete" if answer.finish == "length" else "completed"


def _response_events(answer: Answer, _body: Mapping[str, Any]) -> Iterator[bytes]:
    status = _response_status(answer)
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


def _message_object(answer: Answer, *, done: bool) -> dict[str, Any]:
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


def _message_events(answer: Answer, _body: Mapping[str, Any]) -> Iterator[bytes]:
    yield named({"type": "message_start", "message": _message_object(answer, done=False)})
    yield named({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    yield named({"type": "ping"})
    for word in answer.words:
        yield named({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}})
    yield named({"type": "content_block_stop", "index": 0})
    stop = {"stop_reason": _stop_reason(answer), "stop_sequence": None}
    yield named({"type": "message_delta", "delta": stop, "usage": {"output_tokens": answer.usage.completion}})
    yield named({"type": "message_stop"})


@dataclass(frozen=True)
class Endpoint:
    """How one endpoint spells an answer: as events, and as one body."""

    events: Callable[[Answer, Mapping[str, Any]], Iterator[bytes]]
    whole: Callable[[Answer], dict[str, Any]]


# The first whose path ends so: "/chat/completions" stands before "/completions".
ENDPOINTS = (
    ("/chat/completions", Endpoint(partial(_completion_events, CHAT), partial(_completion_body, CHAT))),
    ("/completions", Endpoint(partial(_completion_events, TEXTS), partial(_completion_body, TEXTS))),
    ("/responses", Endpoint(_response_events, lambda answer: _response_object(answer, _response_status(answer)))),
    ("/messages", Endpoint(_message_events, lambda answer: _message_object(answer, done=True))),
)


def _refusal(status: int, message: str, param: str | None = None, code: str | None = None) -> Script:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return json_answer({"error": error}, status=status)


def _paced(events: Iterator[bytes], pace: float) -> Iterator[Piece]:
    for event in events:
        if pace:
            yield Pause(pace)
        yield event


def _fault(request: Received, path: str, body: object, api_key: str | None) -> Script | None:
    """What is wrong with a request, as its answer."""
    keys = (request.header("x-api-key"), (request.header("authorization") or "").partition(" ")[2])
    if api_key is not None and api_key not in keys:
        return _refusal(401, "Incorrect API key provided.", code="invalid_api_key")
    if request.method != "POST":
        return _refusal(405, f"Not allowed: {request.method}.")
    if not isinstance(body, dict):
        return _refusal(400, "We could not parse the JSON body of your request.")
    if path.endswith("/completions") and body.get("stream_options") is not None and body.get("stream") is not True:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        return _refusal(400, message, param="stream_options")
    return None


def _models() -> Script:
    entries = [{"id": name, "object": "model", "created": 1700000000, "owned_by": "demo"} for name in MODELS]
    return json_answer({"object": "list", "data": entries})


def answer(request: Received, number: int, pace: float = 0.0, api_key: str | None = None) -> Script:
    """Give the script for a request that nothing else was scripted for.

    `number` makes ids unique; `pace` is the time between two events of a stream (seconds); with `api_key` the request
    must carry it, as a bearer or as `x-api-key`.
    """
    path = request.target.partition("?")[0].rstrip("/")
    if (request.method, path.rpartition("/")[2]) == ("GET", "models"):
        return _models()
    endpoint = next((endpoint for suffix, endpoint in ENDPOINTS if path.endswith(suffix)), None)
    if endpoint is None:
        return _refusal(404, f"Invalid URL ({request.method} {path}).")
    try:
        body = request.json
    except ValueError:
        body = None
    fault = _fault(request, path, body, api_key)
    if fault is not None:
        return fault
    reply = compose(body, number)
    named_id = [("x-request-id", f"req_{reply.ident}")]
    if body.get("stream") is True:
        return respond(*_paced(endpoint.events(reply, body), pace), headers=named_id)
    return json_answer(endpoint.whole(reply), headers=named_id)
