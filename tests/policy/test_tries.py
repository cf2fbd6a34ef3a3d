"""The further attempts of one request: which step is taken, how long it waits, and where it ends."""

from __future__ import annotations

from collections.abc import Mapping
import json
from pathlib import Path
from typing import Any

import pytest

from sluicegate.config import Settings, load
from sluicegate.exchange import Endpoint
from sluicegate.policy.health import Watch
from sluicegate.policy.retries import Phase, Rule, Settled, Step, rule_for
from sluicegate.policy.routing import Route, Routes
from sluicegate.policy.seats import Seat, Seats, reachable
from sluicegate.policy.tries import Next, Tries

CHAT = Endpoint(name="chat", operation="chat", dialect="openai-chat", path="/chat/completions")
LOCAL = {"dialect": "openai", "base_url": "http://127.0.0.1:8000/v1"}
PAIR = LOCAL | {"credentials": [{"name": "one", "api_key": "sk-1"}, {"name": "two", "api_key": "sk-2"}]}
FAILED = rule_for(Phase.HEAD, "upstream_error")
LIMITED = rule_for(Phase.HEAD, "upstream_rate_limited")
LOST = rule_for(Phase.SENT, "upstream_lost")
REFUSED = rule_for(Phase.HEAD, "upstream_auth", Settled(401))
MISTAKE = rule_for(Phase.HEAD, "upstream_rejected")


class Request:
    """One request for `m`, whose targets are `places` (upstream/model)."""

    def __init__(
        self,
        folder: Path,
        *places: str,
        upstreams: Mapping[str, Any] | None = None,
        failures: int = 0,
        **rules: float,
    ) -> None:
        targets = [dict(zip(("upstream", "model"), place.split("/"), strict=True)) for place in places]
        tree = {
            "upstreams": upstreams or {"a": LOCAL, "b": LOCAL, "pair": PAIR},
            "models": {"m": {"targets": targets}},
            "retries": {"backoff": 1, **rules},
            "health": {"failures": failures},
        }
        file = folder / "gate.json"
        file.write_text(json.dumps(tree), encoding="utf-8")
        self.settings: Settings = load(file, {})
        self.seats = Seats(self.settings, Watch(self.settings, 0.0, lambda label, state: None), lambda: 0.0)  # noqa: ARG005
        self.now = 0.0
        self.start()

    def start(self) -> Seat:
        """Its first attempt."""
        route: Route | None = Routes(self.settings).route("m")
        assert route is not None
        seat = self.seats.first(route, CHAT, self.now, stream=False)
        assert seat is not None
        self.seat = seat
        self.ticket = seat.health.begin(self.now)
        places = reachable([route], self.seat.target.upstream.dialect)
        self.tries = Tries(self.seats, self.settings.retries, places, self.seat, stream=False)
        return self.seat

    def fails(self, rule: Rule, *, left: float = 600.0, rest: float | None = None) -> Next | None:
        """Its last attempt failed so."""
        self.seats.failed(self.seat, self.ticket, rule, self.now, rest)
        following = self.tries.after(rule, self.now, left=left, rest=rest, chance=1.0)
        if following is not None:
            self.seat = following.seat
            self.ticket = self.seat.health.begin(self.now)
        return following

    def way(self, *rules: Rule) -> list[str]:
        """Where it goes, one failure after the other, until nothing is left."""
        found = []
        for rule in rules:
            following = self.fails(rule)
            if following is None:
                found.append("end")
                break
            found.append(f"{following.seat.target.label} {following.seat.credential.name} {following.delay:g}")
        return found


def test_targets_are_tried_in_order_at_once_and_the_last_once_more(tmp_path: Path) -> None:
    asked = Request(tmp_path, "a/1", "b/1")
    assert asked.way(FAILED, FAILED, FAILED) == ["b/1 none 0", "b/1 none 1", "end"]


def test_what_may_run_there_already_is_not_sent_there_again(tmp_path: Path) -> None:
    assert Request(tmp_path, "a/1", "b/1").way(LOST, LOST) == ["b/1 none 0", "end"]


def test_the_callers_mistake_goes_nowhere(tmp_path: Path) -> None:
    assert Request(tmp_path, "a/1", "b/1").way(MISTAKE) == ["end"]


def test_waits_in_place_double(tmp_path: Path) -> None:
    assert Request(tmp_path, "a/1", here=3).way(*[FAILED] * 4) == ["a/1 none 1", "a/1 none 2", "a/1 none 4", "end"]


def test_a_rate_limit_takes_the_next_credential_then_the_next_target(tmp_path: Path) -> None:
    asked = Request(tmp_path, "pair/1", "b/1")
    assert asked.way(LIMITED, LIMITED, LIMITED) == ["pair/1 two 0", "b/1 none 0", "b/1 none 1"]


def test_a_refused_credential_is_not_used_for_the_next_request(tmp_path: Path) -> None:
    asked = Request(tmp_path, "pair/1")
    assert asked.way(REFUSED) == ["pair/1 two 0"]
    assert [asked.start().credential.name for _ in range(3)] == ["two", "two", "two"]


def test_a_target_whose_credentials_rest_is_tried_last(tmp_path: Path) -> None:
    asked = Request(tmp_path, "pair/1", "b/1")
    asked.way(REFUSED, REFUSED)
    assert [asked.start().target.label for _ in range(2)] == ["b/1", "b/1"]
    assert asked.way(LOST) == ["pair/1 one 0"]


@pytest.mark.parametrize("rest, expected", [(1.5, 1.5), (0.2, 1.0), (2.5, None)])
def test_retry_after_is_waited_for_if_it_is_short(tmp_path: Path, rest: float, expected: float | None) -> None:
    following = Request(tmp_path, "a/1", wait=2).fails(LIMITED, rest=rest)
    assert expected == (following and following.delay)


def test_no_wait_is_longer_than_the_time_that_is_left(tmp_path: Path) -> None:
    assert Request(tmp_path, "a/1").fails(FAILED, left=0.5) is None
    assert Request(tmp_path, "a/1", "b/1").fails(FAILED, left=0.0) is None


def test_attempts_have_an_end_in_all(tmp_path: Path) -> None:
    asked = Request(tmp_path, "a/1", "a/2", "a/3", "b/1", attempts=3)
    assert asked.way(*[FAILED] * 3) == ["a/2 none 0", "a/3 none 0", "end"]


def test_retries_at_an_upstream_are_a_part_of_its_requests(tmp_path: Path) -> None:
    asked = Request(tmp_path, "a/1", budget=0.1)
    made = 0
    for _ in range(100):
        asked.start()
        made += asked.fails(FAILED) is not None
    assert made == 19  # ten in reserve, and a tenth of those requests that came after the reserve was touched


def test_another_target_at_the_same_upstream_is_under_its_budget(tmp_path: Path) -> None:
    asked = Request(tmp_path, "a/1", "a/2", "b/1", budget=0)
    assert asked.way(FAILED, FAILED) == ["b/1 none 0", "end"]


def test_asking_for_less_is_neither_waited_for_nor_budgeted(tmp_path: Path) -> None:
    learnt = rule_for(Phase.HEAD, "upstream_stream_options", Settled(400, learns=True))
    following = Request(tmp_path, "a/1", budget=0, here=0).fails(learnt)
    assert following is not None
    assert (following.step, following.delay) == (Step.LEARN, 0.0)


def test_a_target_that_is_left_alone_is_not_tried_again_in_place(tmp_path: Path) -> None:
    assert Request(tmp_path, "a/1", failures=2, here=5).way(*[FAILED] * 3) == ["a/1 none 1", "end"]


def test_targets_that_are_left_alone_are_passed_over_until_one_request_probes_them(tmp_path: Path) -> None:
    asked = Request(tmp_path, "a/1", "b/1", "b/2", failures=1, budget=0.5)
    assert asked.way(FAILED) == ["b/1 none 0"]
    assert asked.start().target.label == "b/1"
    assert asked.way(LOST) == ["b/2 none 0"]

    asked.now = 5.0
    assert [asked.start().target.label for _ in range(3)] == ["a/1", "b/1", "b/2"]
