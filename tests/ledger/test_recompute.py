"""`sluicegate usage --recompute`: a stored day's cost worked out again, to the nano-dollar."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
import random
import shutil
import sqlite3
from typing import Any

from click.testing import CliRunner
import pytest
from tests.kit.exact import Figures, nano_dollars, whole_credits
from tests.kit.ledger import NOON, ends, finished, sqlite

from sluicegate.cli import main
from sluicegate.config import load
from sluicegate.ledger.prices import Prices
from sluicegate.ledger.report import in_dollars
from sluicegate.store.interface import COLUMNS, SAME, Batch, Place

CREDITS = {"per_dollar": "98765.4321", "rounding": "up"}
TIERS = [{"above": 100_000, "input": "0.333333333", "output": "1.2"}, {"above": 150_000, "cached_input": "0.1"}]
PRICES: dict[str, dict[str, Any]] = {
    "bare": {"input": "0.15", "output": "0.6"},
    "full": {
        "input": "3.000000001",
        "output": "15.5",
        "cached_input": "0.3",
        "cache_write": "3.75",
        "reasoning": "60",
        "request": "0.035000001",
    },
    "tiers": {"input": "1.25", "output": "10", "cached_input": "0.125", "tiers": TIERS},
    "free": {"input": "0", "output": "0"},
}
GATE: dict[str, Any] = {
    "upstreams": {"a": {"dialect": "openai", "base_url": "https://api.example.com/v1"}},
    "models": {"*": {"targets": [{"upstream": "a", "model": "*"}]}},
    "store": "sqlite:///ledger.db",
    "credits": CREDITS,
    "prices": [
        *({"model": f"a/{name}"} | price for name, price in PRICES.items()),
        {"model": "a/bare", "since": "2026-11-22T12:10:00Z", "input": "0.1", "output": "0.4"},
    ],
}
LATER = {"input": "0.1", "output": "0.4"}
#: A row per second from noon on: half of the day's `bare` rows have the later price.
ROWS, LATE = 3000, 600
PROVENANCES = ("provider", "partial", "estimated")


def row(number: int, chance: random.Random, made: Prices) -> tuple[Any, ...]:
    """A request of that day, its cost as exact decimals say."""
    name = chance.choice([*PRICES, "unpriced"])
    given, taken = chance.randint(0, 200_000), chance.randint(0, 20_000)
    tokens = Figures(
        given, taken, chance.randint(0, given // 2), chance.randint(0, given // 2), chance.randint(0, taken)
    )
    provenance, cost, credit, version = chance.choice(PROVENANCES), None, None, ""
    nothing = chance.random() < 0.1
    if nothing:
        tokens, provenance = Figures(0, 0), "none"
    if priced := made.at("a", name, (NOON / 1e6) + number):
        version = priced.version
        price = LATER if name == "bare" and number >= LATE else PRICES[name]
        cost = 0 if nothing else nano_dollars(price, tokens)
        credit = whole_credits(cost, CREDITS["per_dollar"], CREDITS["rounding"])
    attempts: list[dict[str, Any]] = []
    if cost is not None and chance.random() < 0.2:
        attempts = [was_left(chance, made, number) for _ in range(chance.randint(1, 3))]
        cost += sum(attempt["cost"] or 0 for attempt in attempts)
        attempts.append({"target": f"a/{name}", "outcome": "completed", "status": 200, "decisive": True})
    values = finished(number)
    named = {name: getattr(values, name, None) for name in COLUMNS}
    named |= {"instance": "i", "sequence": number, "received_at": NOON + number * 1_000_000, "id": f"req_{number}"}
    named |= {"target": f"a/{name}", "upstream_model": name, "cost": cost, "credits": credit, "price": version}
    named |= {"input_tokens": tokens.input, "output_tokens": tokens.output, "cached_tokens": tokens.cached_input}
    named |= {"cache_write_tokens": tokens.cache_write, "reasoning_tokens": tokens.reasoning}
    named |= {"attempts": json.dumps(attempts) if attempts else ""}
    named |= {"input_provenance": provenance, "output_provenance": provenance}
    return tuple(named[name] for name in COLUMNS)


def was_left(chance: random.Random, made: Prices, number: int) -> dict[str, Any]:
    """An attempt of such a request that was left after it had said what it used, or before."""
    name, tokens = chance.choice([*PRICES, "unpriced"]), Figures(chance.randint(0, 200_000), chance.randint(0, 99))
    told: dict[str, Any] = {"target": f"a/{name}", "outcome": "upstream_error", "status": 200, "decisive": False}
    if chance.random() < 0.3:
        return told | {"price": "", "cost": None}
    words = {"input_provenance": "provider", "output_provenance": "provider", "reported": []}
    priced = made.at("a", name, (NOON / 1e6) + number)
    price = LATER if name == "bare" and number >= LATE else PRICES.get(name, {})
    return told | {
        "usage": {"tokens": tokens._asdict(), **words},
        "price": priced.version if priced else "",
        "cost": nano_dollars(price, tokens) if priced else None,
    }


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration and a store that holds a day of rows."""
    folder = tmp_path_factory.mktemp("day")
    file = folder / "gate.json"
    file.write_text(json.dumps(GATE), encoding="utf-8")
    made, chance = Prices(load(file, {})), random.Random(5)
    with sqlite(folder) as store:
        store.remember_prices(made.kept)
        store.write(Batch("i", ends([row(number, chance, made) for number in range(ROWS)]), Place(1, 1)))
    return folder


@pytest.fixture
def gate(day: Path, tmp_path: Path) -> Path:
    """That configuration beside a copy of that store."""
    shutil.copytree(day, tmp_path, dirs_exist_ok=True)
    return tmp_path / "gate.json"


def changed(gate: Path, statement: str) -> None:
    """Somebody changes the store."""
    connection = sqlite3.connect(gate.parent / "ledger.db")
    connection.executescript(statement)
    connection.close()


def asked(gate: Path, *arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, ["usage", "--recompute", "--config", str(gate), *arguments])
    return done.exit_code, done.stdout, done.stderr


def test_a_days_cost_comes_out_to_the_nano_dollar(gate: Path) -> None:
    with sqlite(gate.parent) as store:
        rows = store.rows(0, 2**62, ROWS + 1)
    costs = [one[COLUMNS.index("cost")] for one in rows]
    total, unpriced = sum(cost or 0 for cost in costs), costs.count(None)

    status, out, err = asked(gate)

    assert (0, "") == (status, out)
    assert f"{ROWS} requests, {unpriced} without a price, ${in_dollars(total)} recomputed, 0 differ\n" == err
    assert (0, "[]\n") == asked(gate, "--format", "json")[:2]


def priced_as(price: str) -> str:
    """Statements that make one row's kind another, of another price."""
    as_it_is, other = (", ".join(price if name == "price" else name for name in SAME) for price in ("price", price))
    return (
        f"INSERT INTO kinds (last_day, {as_it_is}) SELECT last_day, {other} FROM kinds "
        "WHERE id = (SELECT kind FROM request_rows WHERE sequence = {0}); "
        "UPDATE request_rows SET kind = last_insert_rowid() WHERE sequence = {0}"
    )


DIFFERENT = {
    "a nano-dollar more": "UPDATE request_rows SET cost = cost + 1 WHERE sequence = {}",
    "a credit less": "UPDATE request_rows SET credits = credits - 1 WHERE sequence = {}",
    "a token more": "UPDATE request_rows SET input_tokens = input_tokens + 1000 WHERE sequence = {}",
    "no cost": "UPDATE request_rows SET cost = NULL WHERE sequence = {}",
    "an attempt that is forgotten": "UPDATE request_rows SET attempts = '' WHERE sequence = {}",
    "attempts whose figures were cut": 'UPDATE request_rows SET attempts = \'[["a/tiers",""]]\' WHERE sequence = {}',
    "a price that is not kept": priced_as("'gone'"),
    "another price": priced_as("(SELECT min(price) FROM kinds WHERE target = 'a/full')"),
    "a cost without a price": priced_as("''"),
}


@pytest.mark.parametrize("statement", DIFFERENT.values(), ids=DIFFERENT)
def test_a_row_that_was_changed_is_listed(statement: str, gate: Path) -> None:
    connection = sqlite3.connect(gate.parent / "ledger.db")
    tiers = (
        "SELECT sequence FROM requests WHERE target = 'a/tiers' AND input_provenance != 'none' "
        """AND attempts LIKE '%"target": "a/full%"cost": 1%' LIMIT 1"""
    )
    [[sequence]] = connection.execute(tiers).fetchall()
    connection.close()
    changed(gate, statement.format(sequence))

    status, out, err = asked(gate, "--format", "json")
    [found] = json.loads(out)

    assert (1, f"req_{sequence}", "a/tiers") == (status, found["id"], found["target"])
    assert err.endswith("1 differ\n")
    assert (found["cost"], found["credits"]) != (found["recomputed_cost"], found["recomputed_credits"])
    [head, line] = csv.reader(io.StringIO(asked(gate, "--format", "csv")[1]))
    assert dict(zip(head, line, strict=True)) == {name: str("" if x is None else x) for name, x in found.items()}
    assert [head, line[:3]] == [
        words.split()[:size] for words, size in zip(asked(gate)[1].splitlines(), (8, 3), strict=True)
    ]


def test_a_price_that_was_changed_changes_every_row_that_has_it(gate: Path) -> None:
    changed(gate, "UPDATE prices SET price = replace(price, '15500000000', '15600000000')")
    connection = sqlite3.connect(gate.parent / "ledger.db")
    decided = "SELECT id FROM requests WHERE target = 'a/full' AND output_tokens > reasoning_tokens"
    has_it = "SELECT id FROM requests WHERE target = 'a/full' OR attempts LIKE '%a/full%'"
    least, most = ({ident for (ident,) in connection.execute(query)} for query in (decided, has_it))
    connection.close()

    status, out, _ = asked(gate, "--format", "json")

    assert 1 == status
    assert least < {found["id"] for found in json.loads(out)} < most


def test_only_the_days_that_are_named_are_worked_out(gate: Path) -> None:
    changed(gate, "UPDATE request_rows SET cost = 1 WHERE sequence = 7")

    assert 1 == asked(gate, "--since", "2026-11-22", "--until", "2026-11-22")[0]
    assert (0, "", "0 requests, $0 recomputed, 0 differ\n") == asked(gate, "--since", "2026-11-23")
    status, _, err = asked(gate, "--until", "noon")
    assert (2, True) == (status, "noon is no day such as 2026-01-31" in err)
