"""What is taken out of an upstream's words, what stays, and how long it may take."""

from __future__ import annotations

import time

import pytest

from sluicegate.dialects.redaction import MESSAGE_LIMIT, redact

TAKEN_OUT = {
    "Incorrect API key provided: sk-inval****-key. Try again": "Incorrect API key provided: [redacted] Try again",
    "Incorrect API key provided: bad-key-**********test. Go": "Incorrect API key provided: [redacted] Go",
    "Your api key: ****-key is invalid": "Your api key: [redacted] is invalid",
    "key sk-proj-abcdefghijkl is wrong": "key [redacted] is wrong",
    "gsk_abcdefghijklmnop and AIzaSyA1234567890abcdefghijk": "[redacted] and [redacted]",
    "Authorization: Bearer abc.def-ghi failed": "Authorization: Bearer [redacted] failed",
    "see https://platform.example.com/docs?x=1#y for more": "see [link] for more",
    "at postgresql://user:pw@db:5432/x now": "at [link] now",
    "connect to api.openai.com:443 failed": "connect to [host] failed",
    "connect to 10.1.2.3:8000: refused": "connect to [host]: refused",
    "dial localhost:8000 failed": "dial [host] failed",
    "pod-7.default.svc.cluster.local down": "[host] down",
    "organization org-AbCdEf123456 has none": "organization [redacted] has none",
    "user_2wT5ElBE4Es3R4 did": "[redacted] did",
    "(ref: 96164522-08b2-4cbf-886e-e5a38961a688)": "(ref: [redacted])",
    "[request_id=iad1::6csht-1768425457143-aa189dce84b1]": "[request id=[redacted]]",
    "Request id: req_011CeCGmBjaWkq37Sf5iU7so": "Request id: [redacted]",
    "mail me@example.com": "mail [redacted]",
    "two\r\nlines\x00\x1b[31m": "two lines [31m",
}

STAYS = [
    "The model `gpt-4.1-nano-2025-04-14` does not exist or you do not have access to it.",
    "messages.0.content.1: Input should be 'text'",
    "Invalid value: 'messages[0].role' does not support 'developer' with this model.",
    "This model's maximum context length is 128000 tokens. However, you requested 128,001 tokens.",
    "models/gemini-1.5-flash is not found for API version v1beta",
    "unsupported MIME type 'audio/mpeg'; expected e.g. 'data:text/plain;base64,SGVsbG8='",
    "Previous response with id 'resp_abc123def' not found.",
    "-1 is less than the minimum of 1 - 'dimensions'",
    "Ungültiger Wert für 温度: 2.0001",
]


@pytest.mark.parametrize("text", TAKEN_OUT)
def test_keys_ids_hosts_and_links_are_taken_out(text: str) -> None:
    assert redact(text) == TAKEN_OUT[text]


@pytest.mark.parametrize("text", STAYS)
def test_what_tells_the_caller_what_to_change_stays(text: str) -> None:
    assert redact(text) == text


def test_the_credential_that_was_used_is_taken_out_however_it_looks() -> None:
    assert redact("you sent hunter2!", ["hunter2", ""]) == "you sent [redacted]!"


@pytest.mark.parametrize(
    "text",
    ["a." * 100_000, "a" * 200_000, "*" * 200_000, "1." * 100_000, "@" * 200_000, "a://" * 50_000, "-" * 200_000],
)
def test_a_long_text_is_cut_and_takes_no_time(text: str) -> None:
    began = time.process_time()
    assert len(redact(text)) <= MESSAGE_LIMIT
    assert time.process_time() - began < 0.25


def test_a_key_that_is_cut_in_two_by_the_limit_does_not_show() -> None:
    assert "sk-" not in redact("x" * (4 * MESSAGE_LIMIT - 30) + " sk-abcdefghijklmnopqrstuvwxyz0123456789")
