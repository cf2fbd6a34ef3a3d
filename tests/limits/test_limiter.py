"""A caller's limits are put together once, found again, and follow what the configuration says of them."""

from __future__ import annotations

import json
from pathlib import Path
import time

import pytest
from tests.kit.gateway import configuration
from tests.telemetry.rows import exchange, row

from sluicegate._native import Ask
from sluicegate.config import Settings, load
from sluicegate.exchange import Attempt, Tokens, Usage
from sluicegate.limits import limiter as room
from sluicegate.limits.limiter import Limiter, Limits
from sluicegate.policy.keys import Caller, caller_of
from sluicegate.policy.routing import Route, Routes
from sluicegate.telemetry.metrics import Metrics

TARGETS = {"targets": [{"upstream": "up", "model": "m"}]}


class Uncounted:
    """Counts nothing."""

    def limit_refused(self, scope: str, kind: str) -> None: ...

    def limits_asked(self, seconds: float) -> None: ...

    def limits_failed(self, reason: str) -> None: ...

    def limits_unavailable(self, decision: str) -> None: ...


ASK = Ask(b'{"model": "plain", "messages": [], "max_tokens": 10}', 8)
"""A request that may write ten tokens."""

DEMAND = 24
"""Tokens that it reserves: its 52 bytes may be 14."""


def settings(folder: Path, *, tokens: int = 1000, group: int = 9, rare: int = 2) -> Settings:
    written = configuration(
        {"up": {"dialect": "openai", "base_url": "http://127.0.0.1:9"}},
        {"plain": TARGETS, "other": TARGETS, "rare": TARGETS | {"limits": {"requests_per_minute": rare}}},
        keys=[
            {"name": "free", "key": "sk-test-free"},
            {"name": "dev", "key": "sk-test-dev", "tokens_per_minute": tokens},
            {"name": "blue", "key": "sk-test-blue", "group": "blue"},
            {"name": "grey", "key": "sk-test-grey", "group": "grey"},
        ],
        groups={"blue": {"requests_per_minute": group}, "grey": {}},
    )
    file = folder / "sluicegate.yaml"
    file.write_text(json.dumps(written), encoding="utf-8")
    return load(file, {})


def caller(of: Settings, name: str) -> Caller:
    return next(caller_of(key) for key in of.keys if key.name == name)


def route(of: Settings, name: str) -> Route:
    found = Routes(of).route(name)
    assert found is not None
    return found


def limits(limiter: Limiter, caller: Caller, route: Route) -> Limits | None:
    """What a request of this caller's would draw from."""
    if limiter.reserve(caller, route, ASK, lambda *_: None) is None:
        return None
    return limiter._known[caller, route.name]


def capacities(found: Limits | None) -> dict[str, int]:
    return {share.name: share.limit.capacity for share in found.shares} if found is not None else {}


@pytest.mark.parametrize(
    "key, model, expected",
    [
        ("free", "plain", {}),
        ("grey", "plain", {}),
        ("dev", "plain", {"key/dev/tokens/minute": 1000}),
        ("blue", "plain", {"group/blue/requests/minute": 9}),
        ("free", "rare", {"model/rare/requests/minute": 2}),
        ("dev", "rare", {"key/dev/tokens/minute": 1000, "model/rare/requests/minute": 2}),
    ],
)
async def test_the_limits_of_a_request_are(tmp_path: Path, key: str, model: str, expected: dict[str, int]) -> None:
    of = settings(tmp_path)
    limiter, who, where = Limiter(of, Uncounted()), caller(of, key), route(of, model)

    found = limits(limiter, who, where)
    assert expected == capacities(found)
    assert found is limits(limiter, who, where), "and are put together once"


async def test_limits_follow_the_configuration_and_what_is_drawn_stays_drawn(tmp_path: Path) -> None:
    before, after = settings(tmp_path), settings(tmp_path, tokens=2000, group=7)
    limiter = Limiter(before, Uncounted())
    dev, blue, plain = caller(before, "dev"), caller(before, "blue"), route(before, "plain")
    old = limits(limiter, dev, plain)
    assert old is not None
    reservation = limiter.reserve(dev, plain, ASK, lambda *_: None)
    assert reservation is not None
    await limiter.fill(dev, plain, reservation)
    assert {"group/blue/requests/minute": 9} == capacities(limits(limiter, blue, plain))

    limiter.follow(after)
    new = limits(limiter, caller(after, "dev"), route(after, "plain"))
    assert new is not None
    assert {"key/dev/tokens/minute": 2000} == capacities(new)
    assert ([2 * DEMAND], old.shares) == ([share.drawn for share in new.shares], new.shares)
    assert {"group/blue/requests/minute": 7} == capacities(
        limits(limiter, caller(after, "blue"), route(after, "plain"))
    )


async def test_a_request_of_the_configuration_before_does_not_leave_its_limits_to_others(tmp_path: Path) -> None:
    before, after = settings(tmp_path), settings(tmp_path, rare=4)
    limiter = Limiter(before, Uncounted())
    limiter.follow(after)
    free, dev = caller(after, "free"), caller(after, "dev")
    limits(limiter, free, route(after, "rare"))

    assert 2 == capacities(limits(limiter, dev, route(before, "rare")))["model/rare/requests/minute"]
    assert {"model/rare/requests/minute": 4} == capacities(limits(limiter, free, route(after, "rare")))


async def test_what_is_kept_at_hand_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_KNOWN", 2)
    of = settings(tmp_path)
    limiter = Limiter(of, Uncounted())
    pairs = [("dev", "plain"), ("dev", "rare"), ("blue", "plain"), ("blue", "rare"), ("free", "rare")]
    for key, model in pairs:
        limits(limiter, caller(of, key), route(of, model))
        assert len(limiter._known) <= 2


async def test_a_request_is_settled_once(tmp_path: Path) -> None:
    of = settings(tmp_path)
    limiter = Limiter(of, Uncounted())
    dev, plain = caller(of, "dev"), route(of, "plain")
    found = limits(limiter, dev, plain)
    reservation = limiter.reserve(dev, plain, ASK, lambda *_: None)
    assert found is not None
    assert reservation is not None
    assert reservation.waits
    await limiter.fill(dev, plain, reservation)
    assert (DEMAND, [DEMAND]) == (reservation.tokens, [share.drawn for share in found.shares])

    left = Attempt("up/m", "upstream_timeout", 0, Usage(Tokens(2, 90), "partial", "none"), decisive=False)
    used = Usage(Tokens(3, 4), "provider", "provider")
    ended = exchange(row(attempts=(left, Attempt("up/m", "committed", 200, used)), usage=used))
    ended.reservation, ended.received = reservation, time.monotonic()
    rows = Metrics().rows("1", {})
    for _ in range(2):
        rows.ended(ended, ended.received)
        assert [9] == [share.drawn for share in found.shares]
    assert {"1000", "991"} < set(dict(reservation.headers(time.monotonic())).values())
