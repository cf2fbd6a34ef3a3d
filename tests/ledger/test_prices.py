"""What a request costs, and that any day can be worked out again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest
from tests.kit.exact import Figures, nano_dollars, whole_credits

from sluicegate.config import load
from sluicegate.exchange import NO_USAGE, Priced, Tokens, Usage
from sluicegate.ledger import litellm
from sluicegate.ledger.prices import Prices, bill, priced_again

GATE: dict[str, Any] = {
    "upstreams": {"a": {"dialect": "openai", "base_url": "https://api.example.com/v1"}},
    "models": {"*": {"targets": [{"upstream": "a", "model": "*"}]}},
}
JANUARY, JULY = 1_767_225_600, 1_782_864_000


def prices(folder: Path, *listed: dict[str, Any], **settings: Any) -> Prices:
    file = folder / "gate.json"
    file.write_text(json.dumps(GATE | {"prices": listed} | settings), encoding="utf-8")
    return Prices(load(file, {}))


def usage(*tokens: int) -> Usage:
    return Usage(Tokens(*tokens), "provider", "provider")


def cost(priced: Priced | None, *tokens: int) -> int | None:
    return bill(priced, usage(*tokens))[0] if priced is not None else None


@pytest.mark.parametrize(
    "upstream, model, expected",
    [
        ("a", "small", 1),
        ("b", "small", 2),
        ("a", "small-2", 3),
        ("a", "other", 4),
        ("b", "large", 5),
        ("c", "other", None),
    ],
    ids=["the target", "the model", "longest before its star", "the upstream's star", "the model's star", "none"],
)
def test_whose_price_it_is(upstream: str, model: str, expected: int | None, tmp_path: Path) -> None:
    found = prices(
        tmp_path,
        {"model": "large*", "input": 5},
        {"model": "a/*", "input": 4},
        {"model": "a/small-*", "input": 3},
        {"model": "small", "input": 2},
        {"model": "a/small", "input": 1},
    )

    assert cost(found.at(upstream, model, JULY), 1_000_000) == (None if expected is None else expected * 10**9)


def test_a_price_holds_from_its_day_on(tmp_path: Path) -> None:
    found = prices(
        tmp_path,
        {"model": "m", "input": 2, "since": "2026-07-01"},
        {"model": "m", "input": 1, "since": "2026-01-01T00:00:00Z"},
    )

    times = (JANUARY - 1, JANUARY, JULY - 1, JULY, JULY * 2)
    assert [None, 10**9, 10**9, 2 * 10**9, 2 * 10**9] == [cost(found.at("a", "m", at), 1_000_000) for at in times]


def test_what_a_price_does_not_say_costs_what_it_is_a_part_of(tmp_path: Path) -> None:
    found = prices(
        tmp_path,
        {"model": "bare", "input": 1, "output": 10},
        {"model": "full", "input": 1, "output": 10, "cached_input": 0, "cache_write": 2, "reasoning": 20, "request": 3},
        {"model": "tiers", "input": 1, "output": 10, "cached_input": "0.1", "tiers": [{"above": 100, "input": 2}]},
    )
    million = 10**6
    tokens = (4 * million, 3 * million, million, million, 2 * million)

    assert 34 * 10**9 == cost(found.at("a", "bare", JULY), *tokens)
    assert (2 * 1 + 0 + 2 + 10 + 40 + 3) * 10**9 == cost(found.at("a", "full", JULY), *tokens)
    assert (3 * 2 + 30) * 10**9 + 10**8 == cost(found.at("a", "tiers", JULY), *tokens)


def test_nothing_countable_costs_nothing(tmp_path: Path) -> None:
    found = prices(tmp_path, {"model": "m", "input": 1, "request": 1}, credits={"per_dollar": 10}).at("a", "m", JULY)

    assert found is not None
    assert (0, 0) == bill(found, NO_USAGE)


counts = st.integers(0, 2**53 - 1)
rates = st.decimals(0, 1000, places=9).map(str)


@settings(deadline=None, max_examples=60)
@given(
    tokens=st.tuples(counts, counts, counts, counts, counts),
    listed=st.fixed_dictionaries(
        {"input": rates, "output": rates},
        optional={"cached_input": rates, "cache_write": rates, "reasoning": rates, "request": rates},
    ),
    per_dollar=st.decimals(0, 10**6, places=9).map(str),
)
def test_a_cost_is_what_exact_decimals_say_and_can_be_worked_out_again(
    tokens: tuple[int, int, int, int, int],
    listed: dict[str, str],
    per_dollar: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    credit = {"credits": {"per_dollar": per_dollar, "rounding": "half_up"}}
    made = prices(tmp_path_factory.getbasetemp(), {"model": "m"} | listed, **credit)
    priced = made.at("a", "m", JULY)
    assert priced is not None
    found = bill(priced, usage(*tokens))

    nano = nano_dollars(listed, Figures(*tokens))
    assert (nano, whole_credits(nano, per_dollar, "half_up")) == found
    assert found == bill(priced_again(priced.version, made.kept[priced.version]), usage(*tokens))


@pytest.mark.parametrize("text", ["{}", '{"price":{"model":"m","input":-1,"output":1},"credits":null}'])
def test_what_is_no_kept_price_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a price"):
        priced_again("p", text)


LITELLM = {
    "sample_spec": {"input_cost_per_token": 0, "mode": "one of: chat, embedding"},
    "gpt-4o-mini": {
        "input_cost_per_token": 1.5e-07,
        "output_cost_per_token": 6e-07,
        "cache_read_input_token_cost": 7.5e-08,
        "litellm_provider": "openai",
    },
    "gemini/gemini-2.5-pro": {
        "input_cost_per_token": 1.25e-06,
        "input_cost_per_token_above_200k_tokens": 2.5e-06,
        "output_cost_per_token": 1e-05,
        "output_cost_per_token_above_200k_tokens": 1.5e-05,
        "output_cost_per_reasoning_token": 1e-05,
        "input_cost_per_request": 0.035,
    },
    "an/image": {"output_cost_per_image": 0.04},
    "too/fine": {"input_cost_per_token": 1e-17},
    "negative": {"input_cost_per_token": 1e-06, "output_cost_per_token": -1, "cache_read_input_token_cost": None},
}


def test_litellms_table_becomes_a_price_file(tmp_path: Path) -> None:
    text, count, left_out = litellm.convert(json.dumps(LITELLM), "prices.json")
    (tmp_path / "made.json").write_text(text, encoding="utf-8")
    found = prices(tmp_path, {"model": "negative", "input": 7}, price_file="made.json")

    assert (3, 3) == (count, left_out)
    assert 150_000_000 + 600_000_000 == cost(found.at("a", "gpt-4o-mini", JULY), 1_000_000, 1_000_000)
    assert 75_000_000 == cost(found.at("a", "gpt-4o-mini", JULY), 1_000_000, 0, 1_000_000)
    gemini = found.at("gemini", "gemini-2.5-pro", JULY)
    assert [35_000_000 + 250_000_000, 35_000_000 + 500_002_500] == [cost(gemini, n) for n in (200_000, 200_001)]
    assert 7 * 10**9 == cost(found.at("a", "negative", JULY), 1_000_000)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}', "null"])
def test_what_is_not_that_table_is_refused(text: str) -> None:
    with pytest.raises(litellm.NotATable):
        litellm.convert(text, "x")
