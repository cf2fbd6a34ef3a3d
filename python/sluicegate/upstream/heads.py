"""The head of a request to an upstream: whose headers go up, and what stands in their place.

To an upstream go the caller's headers that the edge lets through (design section 4 item 8), then our credential there,
then the configuration's headers, then ours; the later one wins. Never the caller's credential or cookies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluicegate._native import request_lines
from sluicegate.dialects import speech
from sluicegate.dialects.wire import wire

if TYPE_CHECKING:
    from sluicegate.config import Credential, Upstream
    from sluicegate.exchange import Endpoint

USER_AGENT = "sluicegate"
#: Kept heads; callers of one kind send the same few headers. Beyond it they are made anew.
MOST = 1024


class Heads:
    """The lines of heads, all but the length. Callers that send the same headers share them."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, str, str, str], bytes] = {}

    def of(self, upstream: Upstream, credential: Credential, endpoint: Endpoint, forwarded: str) -> bytes:
        """Lines for a request to ``endpoint`` of ``upstream``; ``forwarded`` are the caller's headers, a line each."""
        key = (upstream.name, credential.name, endpoint.path, endpoint.dialect, forwarded)
        lines = self._kept.get(key)
        if lines is None:
            if len(self._kept) >= MOST:
                self._kept.clear()
            lines = self._kept[key] = _lines(upstream, credential, endpoint, forwarded)
        return lines


def _lines(upstream: Upstream, credential: Credential, endpoint: Endpoint, forwarded: str) -> bytes:
    family = wire(endpoint.dialect).family or upstream.dialect
    headers = dict(speech.credential_headers(family, credential.api_key.reveal() if credential.api_key else ""))
    for line in forwarded.splitlines():
        name, _, value = line.partition(": ")
        headers[name] = value
    headers.update((name.lower(), value.reveal()) for name, value in upstream.headers.items())
    headers["user-agent"] = USER_AGENT
    headers["accept-encoding"] = "identity"
    headers.setdefault("content-type", "application/json")
    target = upstream.base_url.path + endpoint.path
    return request_lines(target, upstream.base_url.authority, list(headers.items()))
