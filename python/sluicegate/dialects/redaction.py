"""Makes an upstream's words fit for callers: no secrets, no ids, no hosts (design section 4 item 7).

OpenAI echoes a masked key in its 401, Ollama a trace id, proxies their users' addresses; none of it is the caller's
business, and all of it is somebody else's. Linear in the length of the text: every repetition is bounded.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Characters of an upstream's message that a caller gets to see.
MESSAGE_LIMIT = 1024
_READ_LIMIT = 4 * MESSAGE_LIMIT

_TOP_LEVEL = "com|net|org|io|ai|dev|app|co|cn|eu|de|uk|us|cloud|local|localdomain|internal|svc|cluster|lan|example|test"

_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"[\x00-\x1f\x7f]+"), " "),
    (re.compile(r"\b[a-z][a-z0-9+.-]{1,15}://[^\s\"'<>]+", re.IGNORECASE), "[link]"),
    (re.compile(r"[\w.+-]{1,64}@[\w.-]{1,255}"), "[redacted]"),
    (re.compile(r"[^\s\"'`<]{0,64}\*{3,}[^\s\"'`>]{0,64}"), "[redacted]"),
    (re.compile(r"(\b(?:api[ _-]?key|key|token) provided: ?)\S+", re.IGNORECASE), r"\1[redacted]"),
    (re.compile(r"\b(Bearer|Basic) [\w.~+/=-]{4,}", re.IGNORECASE), r"\1 [redacted]"),
    (re.compile(r"\b(?:sk|rk|pk|gsk|xai|pplx|nvapi|hf|csk|fw|tgp|cai)[-_][\w-]{8,}"), "[redacted]"),
    (re.compile(r"\bAIza[\w-]{20,}"), "[redacted]"),
    (re.compile(r"\b(request|trace|correlation)[ _-]?id(\W{1,3})[\w:.-]{6,}", re.IGNORECASE), r"\1 id\2[redacted]"),
    (re.compile(r"\b(?:req|org|proj|user|acct)[-_][\w-]{6,}"), "[redacted]"),
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.IGNORECASE), "[redacted]"),
    (re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?\b"), "[host]"),
    (re.compile(r"\blocalhost(?::\d{1,5})?\b", re.IGNORECASE), "[host]"),
    (re.compile(rf"\b(?:[a-z0-9-]{{1,63}}\.){{1,8}}(?:{_TOP_LEVEL})\b(?::\d{{1,5}})?", re.IGNORECASE), "[host]"),
)


def redact(text: str, secrets: Sequence[str] = ()) -> str:
    """Give ``text`` on one line, without what is not the caller's, cut to :data:`MESSAGE_LIMIT` characters.

    ``secrets`` are literal strings that must not appear: the credential that was used.
    """
    if len(text) > _READ_LIMIT:
        text = text[:_READ_LIMIT].rpartition(" ")[0]  # a secret cut in two matches no rule
    for secret in secrets:
        if secret:
            text = text.replace(secret, "[redacted]")
    for pattern, stand_in in _RULES:
        text = pattern.sub(stand_in, text)
    text = text.encode("utf-8", "replace").decode()  # lone surrogates
    return text.strip()[:MESSAGE_LIMIT]
