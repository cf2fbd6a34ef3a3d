"""Every way a request can fail, drawn as a tree.

::

    RequestFailed
    ├── CallerFault                    the caller must change something; never retried, never the target's fault
    │   ├── BadRequest                 400  invalid_json, invalid_type, missing_parameter, duplicate_parameter,
    │   │                                   model_not_priced, ...
    │   ├── NotAuthenticated           401  missing_api_key, invalid_api_key, ...
    │   ├── BudgetSpent                402  budget_exceeded
    │   ├── NotAllowed                 403  model_not_allowed, origin_not_allowed
    │   ├── NotFound                   404  model_not_found, unknown_path
    │   ├── MethodNotAllowed           405  method_not_allowed
    │   ├── BodyTooSlow                408  request_timeout
    │   ├── BodyTooLarge               413  request_too_large
    │   ├── BodyUnsupported            415  unsupported_content_encoding, unsupported_media_type
    │   ├── ExpectationFailed          417  expectation_failed
    │   ├── LimitReached               429  requests_per_minute_exceeded, tokens_per_minute_exceeded,
    │   │                                   concurrent_streams_exceeded
    │   ├── HeadersTooLarge            431  headers_too_large
    │   └── ClientLeft                 499  client_disconnected (nobody reads it; metrics and rows do)
    ├── GatewayFault                   we cannot serve now
    │   ├── Overloaded                 503  gateway_overloaded, upstream_queue_full, targets_down,
    │   │                                   targets_queue_full, ledger_unavailable, usage_unavailable
    │   ├── LimitsUnavailable          503  limits_unavailable
    │   ├── KeysUnavailable            503  keys_unavailable
    │   ├── Draining                   503  gateway_draining
    │   └── Internal                   500  internal_error
    └── UpstreamFault                  the target's doing; the next target may be tried
        ├── Unreachable                502  upstream_name_not_found, upstream_refused, upstream_tls,
        │                                   upstream_unreachable
        ├── TimedOut                   504  upstream_connect_timeout, upstream_timeout, total_timeout
        ├── Lost                       502  upstream_lost, upstream_protocol, upstream_truncated
        ├── Unfit                      502  upstream_encoded, upstream_redirect, upstream_not_stream,
        │                                   upstream_not_json, upstream_empty, upstream_too_large,
        │                                   upstream_ended_without_content
        ├── CredentialRefused          502  upstream_auth (its 401 or 403: the caller's key is fine)
        ├── QuotaExhausted             503  upstream_quota
        ├── RateLimited                429  upstream_rate_limited
        ├── UpstreamFailed             502, 503  upstream_error, upstream_overloaded: its 5xx answers
        └── Answered                   its own status: an error answer that is the caller's business:
                                            upstream_rejected, upstream_context_length, upstream_not_found,
                                            upstream_stream_options

An error has a stable ``code`` (the ``error_type`` label of the metrics and the ``error_code`` of the row), a status, a
blame and words for the caller that say what to change. The words are ours and static but for what the caller sent or
an upstream's message with its secrets removed; they never hold hosts, keys or library names.
Where the upstream's verdict is the caller's business, ``wire_code`` and ``wire_type`` keep the upstream's own words for
the answer's body; ``code`` stays ours, so that metrics are bounded.
How an error looks on the wire is its dialect's business: :mod:`sluicegate.dialects`.
"""

from __future__ import annotations

import traceback
from typing import ClassVar, Literal

from sluicegate._native import Panic

Blame = Literal["caller", "gateway", "upstream"]

# What a stream that was already the client's can end with, and the words that go into the dialect's error event.
STREAM_ENDS: dict[str, str] = {
    "upstream_truncated": "The upstream ended the stream before it was finished.",
    "upstream_stalled": "The upstream stopped sending before the stream was finished.",
    "upstream_event_too_large": "The upstream sent an event that is larger than the gateway may hold.",
    "upstream_error_in_band": "The upstream reported an error inside the stream.",
    "upstream_protocol": "The upstream broke the HTTP protocol inside the stream.",
    "total_timeout": "The stream lasted longer than the gateway allows.",
    "gateway_draining": "The gateway is shutting down; please try again.",
    "internal_error": "The gateway failed inside the stream.",
}


class RequestFailed(Exception):
    """A request that ends in an error. ``param`` names the request's member at fault, if one is."""

    status: int = 500
    kind: ClassVar[str] = "api_error"
    blame: ClassVar[Blame] = "gateway"

    def __init__(
        self,
        code: str,
        message: str,
        *,
        param: str | None = None,
        status: int | None = None,
        headers: dict[str, str] | None = None,
        close: bool = False,
        wire_code: str | None = None,
        wire_type: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.headers = headers or {}
        #: The connection to the client must not be used again (unread body, broken framing).
        self.close = close
        #: What the client reads as ``code`` and ``type``, if not ours: an upstream's own, made safe.
        self.wire_code = wire_code
        self.wire_type = wire_type
        if status is not None:
            self.status = status


class CallerFault(RequestFailed):
    """The caller must change something."""

    status = 400
    kind = "invalid_request_error"
    blame = "caller"


class BadRequest(CallerFault):
    """The request cannot be understood, or says something it must not."""


class NotAuthenticated(CallerFault):
    """No key, or none that we know."""

    status = 401
    kind = "authentication_error"


class BudgetSpent(CallerFault):
    """The caller's, its group's or the model's money or credits are spent until their window ends."""

    status = 402
    kind = "insufficient_quota"


class NotAllowed(CallerFault):
    """The key is known, but may not do this."""

    status = 403
    kind = "permission_error"


class NotFound(CallerFault):
    """There is no such model or path."""

    status = 404
    kind = "not_found_error"


class MethodNotAllowed(CallerFault):
    """The path exists, for another method."""

    status = 405


class BodyTooSlow(CallerFault):
    """The request's body did not arrive in time."""

    status = 408
    kind = "timeout_error"


class BodyTooLarge(CallerFault):
    """The request's body is above the limit."""

    status = 413
    kind = "request_too_large"


class BodyUnsupported(CallerFault):
    """The request's body is encoded or typed in a way we do not read."""

    status = 415


class ExpectationFailed(CallerFault):
    """An ``Expect`` header other than ``100-continue`` (RFC 9110 10.1.1)."""

    status = 417


class LimitReached(CallerFault):
    """A limit of the caller's, of its group's or of the model's; ``Retry-After`` says when its window ends."""

    status = 429
    kind = "rate_limit_error"


class HeadersTooLarge(CallerFault):
    """The request's head is above the limit (RFC 6585 5)."""

    status = 431


class ClientLeft(CallerFault):
    """The client closed the connection before it had its answer; 499 as in nginx."""

    status = 499

    def __init__(self) -> None:
        super().__init__("client_disconnected", "The client closed the connection.")


class GatewayFault(RequestFailed):
    """We cannot serve this request now."""

    status = 500


class Overloaded(GatewayFault):
    """A limit of the gateway's is reached; ``Retry-After`` says when to come back."""

    status = 503
    kind = "overloaded_error"


class LimitsUnavailable(GatewayFault):
    """Who keeps the limits does not answer, and ``limits_unavailable`` is ``deny``."""

    status = 503
    kind = "overloaded_error"

    def __init__(self) -> None:
        super().__init__(
            "limits_unavailable",
            "The gateway cannot tell whether this request is within its limits; please try again.",
            headers={"retry-after": "1"},
        )


class KeysUnavailable(GatewayFault):
    """The store has not said for too long whose this key is."""

    status = 503
    kind = "overloaded_error"

    def __init__(self) -> None:
        super().__init__(
            "keys_unavailable",
            "The gateway cannot tell now whether this API key is good; please try again.",
            headers={"retry-after": "5"},
        )


class Draining(GatewayFault):
    """The gateway is shutting down."""

    status = 503
    kind = "overloaded_error"

    @classmethod
    def again(cls) -> Draining:
        """Make the refusal of a request that another gateway, or this one's successor, may serve at once."""
        return cls("gateway_draining", STREAM_ENDS["gateway_draining"], headers={"retry-after": "1"})


class Internal(GatewayFault):
    """A fault of ours; the request id leads to the log line."""

    def __init__(self) -> None:
        super().__init__("internal_error", "The gateway failed to serve this request. Its id is in x-request-id.")


class UpstreamFault(RequestFailed):
    """The target's doing; what failed says the code."""

    status = 502
    kind = "upstream_error"
    blame = "upstream"


class Unreachable(UpstreamFault):
    """No connection: name, TCP or TLS."""


class TimedOut(UpstreamFault):
    """The upstream did not answer in time."""

    status = 504
    kind = "timeout_error"


class Lost(UpstreamFault):
    """The connection ended, or broke HTTP, before there was an answer."""


class Unfit(UpstreamFault):
    """An answer that is not what was asked for."""


class CredentialRefused(UpstreamFault):
    """The upstream refused the gateway's own credential."""


class QuotaExhausted(UpstreamFault):
    """The gateway's account at the upstream is used up."""

    status = 503


class RateLimited(UpstreamFault):
    """The upstream's rate limit; its ``Retry-After`` is passed on."""

    status = 429
    kind = "rate_limit_error"


class UpstreamFailed(UpstreamFault):
    """The upstream answered that it failed: its 5xx, as 503 where it is busy and as 502 otherwise."""


class Answered(UpstreamFault):
    """The upstream's own error answer to what the caller sent, passed on with its status."""

    kind = "invalid_request_error"


#: What comes up though nobody raises it to be told: a panic of the core's is none of Python's exceptions. Where a
#: request, or a connection, has its last stop, these stop there, and what ends tasks or the process goes on.
FAULTS: tuple[type[BaseException], ...] = (Exception, Panic)


def where(error: BaseException) -> str:
    """Tell an error's type and place, without its words: they may quote what a client sent."""
    frames = traceback.extract_tb(error.__traceback__)
    return " < ".join([type(error).__name__, *(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames[-4:]))])
