"""When a failed attempt is made again, and where: the table, row by row, and the waits."""

from __future__ import annotations

from email.utils import formatdate
from pathlib import Path
import re

import pytest

from sluicegate import errors
from sluicegate.policy import retries
from sluicegate.policy.retries import Phase, Rest, Settled, Step, rule_for

CONTRACT = Path(__file__).resolve().parent.parent.parent / "docs" / "CONTRACT.md"
TOLD = (Phase.HEAD, Phase.FIRST_EVENT, Phase.COMMIT)
HERE_TOO = (Step.TARGET, Step.AGAIN)
ELSEWHERE = (Step.TARGET,)
OTHERWISE = (Step.CREDENTIAL, Step.TARGET)
NEVER = (Step.GIVE_UP,)

#: what the operator sees: phases, code, what tells it apart, steps, whose doing, what becomes of the credential
CASES: dict[str, tuple[tuple[Phase, ...], str, Settled, tuple[Step, ...], str, Rest]] = {
    "refused": ((Phase.CONNECT,), "upstream_refused", Settled(), HERE_TOO, "target", Rest.NONE),
    "no route": ((Phase.CONNECT,), "upstream_unreachable", Settled(), HERE_TOO, "target", Rest.NONE),
    "no name": ((Phase.CONNECT,), "upstream_name_not_found", Settled(), ELSEWHERE, "target", Rest.NONE),
    "bad TLS": ((Phase.CONNECT,), "upstream_tls", Settled(), ELSEWHERE, "target", Rest.NONE),
    "blackhole": ((Phase.CONNECT,), "upstream_connect_timeout", Settled(), ELSEWHERE, "target", Rest.NONE),
    "queue full": ((Phase.CONNECT,), "upstream_queue_full", Settled(), ELSEWHERE, "gateway", Rest.NONE),
    "no descriptor": ((Phase.CONNECT,), "gateway_overloaded", Settled(), NEVER, "gateway", Rest.NONE),
    "lost": ((Phase.SENT, *TOLD), "upstream_lost", Settled(), ELSEWHERE, "target", Rest.NONE),
    "cut": (TOLD, "upstream_truncated", Settled(), ELSEWHERE, "target", Rest.NONE),
    "bad HTTP": ((Phase.SENT, *TOLD), "upstream_protocol", Settled(), ELSEWHERE, "target", Rest.NONE),
    "silent": ((Phase.SENT, *TOLD), "upstream_timeout", Settled(), ELSEWHERE, "target", Rest.NONE),
    "no content": (TOLD, "upstream_ended_without_content", Settled(), ELSEWHERE, "target", Rest.NONE),
    "JSON to a stream": (TOLD, "upstream_not_stream", Settled(), ELSEWHERE, "target", Rest.NONE),
    "500": (TOLD, "upstream_error", Settled(status=500), HERE_TOO, "target", Rest.NONE),
    "529": (TOLD, "upstream_overloaded", Settled(status=529), HERE_TOO, "target", Rest.NONE),
    "400": (TOLD, "upstream_rejected", Settled(status=400), NEVER, "caller", Rest.NONE),
    "too long": (TOLD, "upstream_context_length", Settled(400), NEVER, "caller", Rest.NONE),
    "too long, recoverable": (
        (*TOLD,),
        "upstream_context_length",
        Settled(400, recoverable=("context_length",)),
        ELSEWHERE,
        "caller",
        Rest.NONE,
    ),
    "stream_options": (TOLD, "upstream_stream_options", Settled(400), NEVER, "caller", Rest.NONE),
    "stream_options, recoverable": (
        (*TOLD,),
        "upstream_stream_options",
        Settled(400, recoverable=("stream_options",)),
        ELSEWHERE,
        "caller",
        Rest.NONE,
    ),
    "stream_options, learnt": (
        (*TOLD,),
        "upstream_stream_options",
        Settled(400, recoverable=("stream_options",), learns=True),
        (Step.LEARN,),
        "gateway",
        Rest.NONE,
    ),
    "404, mapped": (TOLD, "upstream_not_found", Settled(404), ELSEWHERE, "target", Rest.NONE),
    "404, passed through": (TOLD, "upstream_not_found", Settled(404, passed_through=True), NEVER, "caller", Rest.NONE),
    "401": (TOLD, "upstream_auth", Settled(401), OTHERWISE, "credential", Rest.RETIRED),
    "403": (TOLD, "upstream_auth", Settled(403), OTHERWISE, "caller", Rest.NONE),
    "429": (TOLD, "upstream_rate_limited", Settled(429), (*OTHERWISE, Step.AGAIN), "credential", Rest.PAUSED),
    "402": (TOLD, "upstream_quota", Settled(402), OTHERWISE, "credential", Rest.RETIRED),
    "total": ((Phase.SENT, *TOLD), "total_timeout", Settled(), NEVER, "gateway", Rest.NONE),
    "client left": ((Phase.CONNECT, Phase.SENT), "client_disconnected", Settled(), NEVER, "gateway", Rest.NONE),
    "cut after content": ((Phase.AFTER,), "upstream_truncated", Settled(200), NEVER, "target", Rest.NONE),
    "stalled after content": ((Phase.AFTER,), "upstream_stalled", Settled(200), NEVER, "target", Rest.NONE),
    "client left after content": ((Phase.AFTER,), "client_disconnected", Settled(200), NEVER, "gateway", Rest.NONE),
}


@pytest.mark.parametrize("name", CASES)
def test_the_table_says(name: str) -> None:
    phases, code, settled, steps, fault, rest = CASES[name]
    rules = [rule_for(phase, code, settled) for phase in phases]
    assert {(steps, fault, rest)} == {(rule.steps, rule.fault, rule.rest) for rule in rules}


def test_every_error_of_an_upstreams_has_a_row() -> None:
    tree = (errors.__doc__ or "").split("UpstreamFault  ")[1].split("An error has a stable")[0]
    codes = set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", tree)) | set(errors.STREAM_ENDS) | {"upstream_queue_full"}
    assert codes - {result.partition(":")[0] for rule in retries.RULES for result in rule.results} == set()


def test_no_case_stands_in_two_rows() -> None:
    cases = [(phase, result) for rule in retries.RULES for phase in rule.phases for result in rule.results]
    assert sorted({str(case) for case in cases if cases.count(case) > 1}) == []


def test_after_a_byte_was_sent_every_row_gives_up() -> None:
    assert {step for rule in retries.RULES if Phase.AFTER in rule.phases for step in rule.steps} == {Step.GIVE_UP}


def test_what_the_caller_did_wrong_costs_no_target_and_no_credential() -> None:
    assert {rule.rest for rule in retries.RULES if rule.fault == "caller"} == {Rest.NONE}


def test_what_is_in_no_row_is_given_up() -> None:
    assert rule_for(Phase.CONNECT, "upstream_rejected").steps == NEVER


def test_the_contract_holds_the_table() -> None:
    assert retries.table() in CONTRACT.read_text(encoding="utf-8"), f"the table should read:\n{retries.table()}"


WALL = 1_763_776_451.0
AFTER: dict[str, tuple[dict[str, str], float | None]] = {
    "nothing said": ({}, None),
    "seconds": ({"retry-after": "7"}, 7.0),
    "a part of a second": ({"retry-after": "0.5"}, 0.5),
    "milliseconds win": ({"retry-after": "7", "retry-after-ms": "250"}, 0.25),
    "a date": ({"retry-after": formatdate(WALL + 30, usegmt=True)}, 30.0),
    "a date that is past": ({"retry-after": formatdate(WALL - 30, usegmt=True)}, 0.0),
    "no date": ({"retry-after": "Xxx, 99 Yyy 0000 99:99:99 GMT"}, None),
}


@pytest.mark.parametrize("name", AFTER)
def test_retry_after_is_read(name: str) -> None:
    headers, expected = AFTER[name]
    assert expected == retries.retry_after(headers, WALL)


def test_waits_double_up_to_the_longest_and_are_spread() -> None:
    assert [retries.backoff(again, 0.5, 5.0, 1.0) for again in range(5)] == [0.5, 1.0, 2.0, 4.0, 5.0]
    assert [retries.backoff(again, 0.5, 5.0, 0.0) for again in range(5)] == [0.25, 0.5, 1.0, 2.0, 2.5]
