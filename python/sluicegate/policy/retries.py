"""Whether a failed attempt is made again, and where: one table, which drives the code, the tests and the documents.

A row says, for a phase of an attempt and what it came to, which steps are tried in which order: the first that is
possible is taken, and where none is, the request ends with the error of its primary target. Pure: the clock and chance
are passed in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum
from types import MappingProxyType
from typing import Literal

Fault = Literal["target", "credential", "caller", "gateway"]


class Phase(Enum):
    """How far an attempt had come when it failed."""

    CONNECT = "connect"
    SENT = "request sent"
    HEAD = "head"
    FIRST_EVENT = "before the first event"
    COMMIT = "before commit"
    AFTER = "after"


class Step(Enum):
    """What is done next."""

    FRESH = "retry here at once on a fresh connection"
    LEARN = "retry here at once without asking for usage"
    AGAIN = "retry here"
    CREDENTIAL = "next credential"
    TARGET = "next target"
    GIVE_UP = "give up"


class Rest(Enum):
    """What becomes of the credential."""

    NONE = ""
    PAUSED = "rests for Retry-After"
    RETIRED = "rests until a probe"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: ``results`` are codes of ``errors.py``, some with what tells two of a kind apart (``CODE:WHICH``).

    ``fault`` is whose doing it is: only ``target`` counts against a target's health. ``because`` is the reason.
    """

    phases: tuple[Phase, ...]
    results: tuple[str, ...]
    steps: tuple[Step, ...]
    fault: Fault
    because: str
    rest: Rest = Rest.NONE


#: An error that the upstream told, by its status or inside a stream that had no content yet.
_TOLD = (Phase.HEAD, Phase.FIRST_EVENT, Phase.COMMIT)
_WAITING = (Phase.SENT, *_TOLD)

#: The table. ``upstream_lost`` and its like in ``request sent`` mean that no head came.
RULES: tuple[Rule, ...] = (
    Rule(
        (Phase.CONNECT,),
        ("upstream_refused", "upstream_unreachable"),
        (Step.TARGET, Step.AGAIN),
        "target",
        "no byte was sent, so nothing can happen twice; a server that restarts is back soon",
    ),
    Rule(
        (Phase.CONNECT,),
        ("upstream_connect_timeout", "upstream_name_not_found", "upstream_tls"),
        (Step.TARGET,),
        "target",
        "no byte was sent; the same address would fail in the same way, or as slowly",
    ),
    Rule(
        (Phase.CONNECT,),
        ("upstream_queue_full",),
        (Step.TARGET,),
        "gateway",
        "our own limit for this upstream is reached; more of the same would only lengthen the queue",
    ),
    Rule(
        (Phase.CONNECT,),
        ("gateway_overloaded",),
        (Step.GIVE_UP,),
        "gateway",
        "the process has no descriptor left; every target would need one",
    ),
    Rule(
        (Phase.SENT,),
        ("upstream_lost:reused",),
        (Step.FRESH,),
        "gateway",
        "a kept connection died without a byte: the upstream closed it while the request came (RFC 9112 9.3.1)",
    ),
    Rule(
        _WAITING,
        ("upstream_lost", "upstream_truncated", "upstream_protocol", "upstream_timeout"),
        (Step.TARGET,),
        "target",
        "the request may be running there, and be billed: it is not sent to the same upstream twice",
    ),
    Rule(
        _TOLD,
        (
            "upstream_encoded",
            "upstream_redirect",
            "upstream_not_stream",
            "upstream_not_json",
            "upstream_empty",
            "upstream_too_large",
            "upstream_ended_without_content",
        ),
        (Step.TARGET,),
        "target",
        "an answer, but not to what was asked; asked again, it would be the same",
    ),
    Rule(
        _TOLD,
        ("upstream_rate_limited",),
        (Step.CREDENTIAL, Step.TARGET, Step.AGAIN),
        "credential",
        "the limit is the credential's; here again only after its Retry-After, if that is short enough to wait for",
        Rest.PAUSED,
    ),
    Rule(
        _TOLD,
        ("upstream_quota",),
        (Step.CREDENTIAL, Step.TARGET),
        "credential",
        "the account is used up until somebody pays; a probe after the cool-down tells",
        Rest.RETIRED,
    ),
    Rule(
        _TOLD,
        ("upstream_auth",),
        (Step.CREDENTIAL, Step.TARGET),
        "credential",
        "the credential is not accepted there; a probe after the cool-down tells whether it is again",
        Rest.RETIRED,
    ),
    Rule(
        _TOLD,
        ("upstream_auth:403",),
        (Step.CREDENTIAL, Step.TARGET),
        "caller",
        "this one request is not allowed there; the credential may serve others, and stays",
    ),
    Rule(
        _TOLD,
        ("upstream_overloaded", "upstream_error"),
        (Step.TARGET, Step.AGAIN),
        "target",
        "the upstream says that it failed, so it does not run there any more",
    ),
    Rule(
        _TOLD,
        ("upstream_rejected", "upstream_context_length", "upstream_stream_options"),
        (Step.GIVE_UP,),
        "caller",
        "the caller's own mistake; it would be one everywhere",
    ),
    Rule(
        _TOLD,
        ("upstream_context_length:recoverable", "upstream_stream_options:recoverable"),
        (Step.TARGET,),
        "caller",
        "the target is known to take less than others (`recoverable`)",
    ),
    Rule(
        _TOLD,
        ("upstream_stream_options:learn",),
        (Step.LEARN,),
        "gateway",
        "we had asked for usage, not the caller (`usage_request: learn`); this target is not asked again",
    ),
    Rule(
        _TOLD,
        ("upstream_not_found",),
        (Step.TARGET,),
        "target",
        "the gateway mapped the name, so the caller cannot have mistaken it",
    ),
    Rule(
        _TOLD,
        ("upstream_not_found:passed_through",),
        (Step.GIVE_UP,),
        "caller",
        "the caller chose the name below a `*`",
    ),
    Rule(
        _WAITING,
        ("total_timeout",),
        (Step.GIVE_UP,),
        "gateway",
        "the time for all attempts together is used up",
    ),
    Rule(
        (Phase.CONNECT, *_WAITING),
        ("gateway_draining", "internal_error", "client_disconnected"),
        (Step.GIVE_UP,),
        "gateway",
        "not the upstream's doing: nobody waits, or nobody here can go on",
    ),
    Rule(
        (Phase.AFTER,),
        (
            "upstream_truncated",
            "upstream_stalled",
            "upstream_protocol",
            "upstream_event_too_large",
            "upstream_error_in_band",
        ),
        (Step.GIVE_UP,),
        "target",
        "bytes of its answer are the caller's: nothing is tried again, the stream tells what happened",
    ),
    Rule(
        (Phase.AFTER,),
        ("total_timeout", "gateway_draining", "internal_error", "client_disconnected", "client_stalled"),
        (Step.GIVE_UP,),
        "gateway",
        "bytes of its answer are the caller's; it was not the target that ended it",
    ),
)

_BY_CASE: Mapping[tuple[Phase, str], Rule] = MappingProxyType(
    {(phase, result): rule for rule in RULES for phase in rule.phases for result in rule.results}
)
#: What is in no row; nothing that can happen should need it.
UNKNOWN = Rule(tuple(Phase), (), (Step.GIVE_UP,), "gateway", "it is in no row of the table")

#: What the second half of a result says, in words.
_WHICH: Mapping[str, str] = MappingProxyType(
    {
        "403": "by a 403",
        "learn": "with `usage_request: learn`",
        "passed_through": "for a name below a `*`",
        "recoverable": "where `recoverable` names it",
        "reused": "on a reused connection",
    }
)


@dataclass(frozen=True, slots=True)
class Settled:
    """What tells results of one code apart.

    ``status`` is the upstream's, 0 if none came. ``passed_through``: the caller chose the name sent. ``recoverable``
    are the target's: ``context_length``, ``stream_options``. ``learns``: we asked for usage, and may stop doing so.
    """

    status: int = 0
    passed_through: bool = False
    recoverable: tuple[str, ...] = ()
    learns: bool = False


def rule_for(phase: Phase, code: str, settled: Settled = Settled()) -> Rule:  # frozen
    """Return the row for an attempt that failed in ``phase`` with the error ``code``."""
    which = ""
    if code == "upstream_auth" and settled.status == 403:  # noqa: PLR2004  # a status
        which = ":403"
    elif code == "upstream_not_found" and settled.passed_through:
        which = ":passed_through"
    elif code == "upstream_stream_options" and settled.learns:
        which = ":learn"
    elif code.removeprefix("upstream_") in settled.recoverable:
        which = ":recoverable"
    return _BY_CASE.get((phase, code + which), UNKNOWN)


def retry_after(headers: Mapping[str, str], wall: float) -> float | None:
    """Return for how many seconds an upstream asks to be left alone; None if it does not say.

    ``headers`` in lower case: ``retry-after-ms``, or ``retry-after`` as seconds or as a date (RFC 9110 10.2.3), which
    is compared with ``wall``, Unix time.
    """
    try:
        if (written := headers.get("retry-after-ms")) is not None:
            return float(written) / 1000
        if (written := headers.get("retry-after")) is None:
            return None
        if written[:1].isdigit():
            return float(written)
        return max(0.0, parsedate_to_datetime(written).timestamp() - wall)
    except ValueError:
        return None


def backoff(again: int, first: float, longest: float, chance: float) -> float:
    """Return the wait before retry number ``again`` (from 0): doubled each time, and spread by ``chance`` (0 to 1).

    Between half of the doubled time and all of it, so that clients which failed together do not come back together.
    """
    return float(min(first * 2**again, longest)) * (0.5 + chance / 2)


def table() -> str:
    """The table as Markdown: what ``sluicegate explain fallback`` prints and docs/CONTRACT.md holds."""
    rows = [
        "| phase | result | then, whichever is possible first | whose doing | because |",
        "|---|---|---|---|---|",
    ]
    for rule in RULES:
        phases = ", ".join(phase.value for phase in rule.phases)
        results = ", ".join(_in_words(result) for result in rule.results)
        steps = ", ".join(step.value for step in rule.steps)
        rest = f" (it {rule.rest.value})" if rule.rest.value else ""
        rows.append(f"| {phases} | {results} | {steps} | {rule.fault}{rest} | {rule.because} |")
    return "\n".join(rows) + "\n"


def _in_words(result: str) -> str:
    code, _, which = result.partition(":")
    return f"`{code}` {_WHICH[which]}" if which else f"`{code}`"
