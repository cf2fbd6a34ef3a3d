"""What `sluicegate usage` shows, and how fast."""

from __future__ import annotations

import json
from pathlib import Path
import time
from typing import Any

from click.testing import CliRunner
import pytest
from tests.kit.ledger import NOON, ends, finished

from sluicegate.cli import main
from sluicegate.ledger import report
from sluicegate.store.interface import COLUMNS, Batch, Place
from sluicegate.store.sqlite import Sqlite

GATE: dict[str, Any] = {
    "upstreams": {"a": {"dialect": "openai", "base_url": "https://api.example.com/v1"}},
    "models": {"*": {"targets": [{"upstream": "a", "model": "*"}]}},
    "store": "sqlite:///ledger.db",
}
DAY = 86_400_000_000


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    file = tmp_path / "gate.json"
    file.write_text(json.dumps(GATE), encoding="utf-8")
    store = Sqlite(str(tmp_path / "ledger.db"))
    store.open()
    rows = [
        row(1),
        row(2, caller="\x1b[2Jops", cost=1),
        row(3, received_at=NOON + DAY),
        row(4, received_at=NOON + DAY, model="*", cost=None, credits=None),
    ]
    store.write(Batch("i", ends(rows), Place(1, 1)))
    store.close()
    return file


def row(number: int, **changes: Any) -> tuple[Any, ...]:
    values = finished(number)
    named = {name: getattr(values, name, None) for name in COLUMNS} | {"instance": "i", "sequence": number} | changes
    return tuple(named[name] for name in COLUMNS)


def asked(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, ["usage", *arguments])
    return done.exit_code, done.stdout, done.stderr


def test_json_is_a_list_of_objects(gate: Path) -> None:
    status, out, _ = asked("--config", str(gate), "--by", "model,day", "--format", "json")

    shared = {"cached_tokens": 20, "cache_write_tokens": 5, "reasoning_tokens": 10}
    once = {"requests": 1, "input_tokens": 100, "output_tokens": 50, **shared}
    twice = {name: 2 * count for name, count in once.items()}
    assert 0 == status
    assert [
        {"model": "*", "day": "2026-11-23", **once, "cost": None, "credits": None, "unpriced_requests": 1},
        {"model": "fast", "day": "2026-11-22", **twice, "cost": 0.000001235, "credits": 4, "unpriced_requests": 0},
        {"model": "fast", "day": "2026-11-23", **once, "cost": 0.000001234, "credits": 2, "unpriced_requests": 0},
    ] == json.loads(out)


def test_csv_and_table_say_the_same(gate: Path) -> None:
    _, csv, _ = asked("--config", str(gate), "--by", "key", "--format", "csv", "--until", "2026-11-22")
    _, table, _ = asked("--config", str(gate), "--by", "key", "--until", "2026-11-22")

    assert [
        (
            "key,requests,input_tokens,output_tokens,cached_tokens,cache_write_tokens,reasoning_tokens,cost,credits,"
            "unpriced_requests"
        ),
        "?[2Jops,1,100,50,20,5,10,0.000000001,2,0",
        "dev,1,100,50,20,5,10,0.000001234,2,0",
    ] == csv.splitlines()
    assert [line.split(",") for line in csv.splitlines()] == [line.split() for line in table.splitlines()]


@pytest.mark.parametrize(
    "arguments, status, words",
    [
        (("--by", "model,colour"), 2, "model,colour is not made of day, model, target, key, group, each once"),
        (("--by", "day,day"), 2, "each once"),
        (("--since", "2027-01-01"), 0, ""),
    ],
)
def test_what_cannot_be_asked(arguments: tuple[str, ...], status: int, words: str, gate: Path) -> None:
    found, _, err = asked("--config", str(gate), *arguments)

    assert status == found
    assert words in err


@pytest.mark.parametrize(
    "store, words",
    [("none", "there is no ledger"), ("sqlite:///other.db", "the store cannot be read: SQLite: unable to open")],
)
def test_where_there_is_no_ledger(store: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "gate.json"
    file.write_text(json.dumps(GATE | {"store": store}), encoding="utf-8")

    status, out, err = asked("--config", str(file))

    assert (1, "") == (status, out)
    assert words in err
    assert [file] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "nano, dollars",
    [(0, "0"), (1, "0.000000001"), (10**9, "1"), (1_500_000_000, "1.5"), (2**63 - 1, "9223372036.854775807")],
)
def test_money_is_written_exactly(nano: int, dollars: str) -> None:
    assert dollars == report.in_dollars(nano)


@pytest.mark.full
@pytest.mark.timeout(300)
def test_a_million_rows_answer_within_a_second(tmp_path: Path) -> None:
    store = Sqlite(str(tmp_path / "ledger.db"))
    store.open()
    base = row(0)
    at, model, caller = (COLUMNS.index(name) for name in ("received_at", "model", "caller"))
    for batch in range(200):
        rows = []
        for number in range(batch * 5000, batch * 5000 + 5000):
            one = list(base)
            one[1], one[at] = number, NOON + number * 2_592_000
            one[model], one[caller] = f"model-{number % 20}", f"key-{number % 50}"
            rows.append(tuple(one))
        store.write(Batch("i", ends(rows), Place(1, batch)))
    store.close()
    file = tmp_path / "gate.json"
    file.write_text(json.dumps(GATE), encoding="utf-8")

    began = time.monotonic()
    status, out, _ = asked("--config", str(file), "--by", "model,day", "--format", "json")
    took = time.monotonic() - began

    assert (0, 1_000_000) == (status, sum(line["requests"] for line in json.loads(out)))
    print(f"a million rows, {len(json.loads(out))} lines: {took:.3f} s")  # noqa: T201
    assert took < 1
