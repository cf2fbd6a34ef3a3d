"""The examples of the API pages that mounts imitate, as the pages print them."""

from __future__ import annotations

from typing import Any

#: Bifrost's request, member by member.
EXAMPLE: dict[str, Any] = {
    "model": "openai/gpt-4o-mini",
    "messages": [
        {
            "role": "user",
            "content": "Hello, how are you?",
            "tool_call_id": "<string>",
            "tool_calls": [
                {
                    "id": "tool_123",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": '{"location": "San Francisco, CA"}'},
                }
            ],
            "refusal": "<string>",
            "annotations": [
                {
                    "type": "<string>",
                    "url_citation": {
                        "start_index": 123,
                        "end_index": 123,
                        "title": "<string>",
                        "url": "<string>",
                        "sources": "<any>",
                        "type": "<string>",
                    },
                }
            ],
            "thought": "<string>",
        }
    ],
    "max_tokens": 1000,
    "temperature": 1,
    "top_p": 0.5,
    "n": 1,
    "stream": False,
    "stream_options": {"include_usage": True},
    "stop": "<string>",
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "logit_bias": {},
    "logprobs": False,
    "top_logprobs": 10,
    "max_completion_tokens": 123,
    "metadata": {},
    "modalities": ["<string>"],
    "parallel_tool_calls": True,
    "prompt_cache_key": "<string>",
    "reasoning_effort": "<string>",
    "response_format": {"type": "text"},
    "safety_identifier": "<string>",
    "seed": 123,
    "service_tier": "auto",
    "store": True,
    "tool_choice": "none",
    "tools": [{"type": "function", "function": {"description": "<string>", "name": "<string>", "parameters": {}}}],
    "user": "<string>",
    "verbosity": "<string>",
    "fallbacks": ["anthropic/claude-3-sonnet-20240229", "openai/gpt-4o"],
}

#: The members of Bifrost's ``extra_fields``; ``raw_response`` on request.
EXTRA_FIELDS = {"provider", "request_type", "model_requested", "model_params", "latency", "billed_usage"}


def page_fields() -> set[str]:
    """The request's members that Bifrost's page names."""
    return set(EXAMPLE)


#: caicaini's request and its answer.
CAICAINI_REQUEST: dict[str, Any] = {
    "model": "caicaini/auto",
    "messages": [
        {"role": "system", "content": "You are concise."},
        {"role": "user", "content": "Two reasons to use TypeScript over JS in 2026?"},
    ],
    "max_tokens": 256,
}
CAICAINI_ANSWER: dict[str, Any] = {
    "id": "chatcmpl_01H8fkx2N3p4q5r6s7t8u9v",
    "object": "chat.completion",
    "created": 1746748800,
    "model": "caicaini/auto",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "1) Catch class-of-bug at compile time. 2) Editor knows your shape.",
            },
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 31, "completion_tokens": 22, "total_tokens": 53, "credits_consumed": 27},
}
