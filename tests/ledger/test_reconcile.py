"""The ledger beside an upstream's own figures: what agrees, what is missing, what differs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from msgspec.structs import astuple
import pytest
from tests.kit.ledger import NOON, ends, finished, frame, spool, sqlite
from tests.kit.ledger import drained as drain

from sluicegate.ledger.reconcile import Difference, NotAnExport, compare, read_export
from sluicegate.ledger.report import structs_as_table
from sluicegate.store.interface import Batch, Place
from sluicegate.store.sqlite import Sqlite

CSV = """request_id,created_at,prompt_tokens,completion_tokens,cost
up_1,2026-11-22T12:00:01Z,100,50,0.0000012
up_2,2026-11-22T12:00:02Z,100,50,
"""
JSON = """{"object": "list", "data": [
  {"id": "up_1", "created": 1795348801, "usage": {"prompt_tokens": 100, "completion_tokens": 50}},
  {"id": "up_2", "created": 1795348802, "usage": {"prompt_tokens": 100, "completion_tokens": 50}}]}"""
JSONL = """
{"Request ID": "up_1", "timestamp": 1795348801000, "input_tokens": 75, "cache_read_input_tokens": 20,
"cache_creation_input_tokens": 5, "output_tokens": "50"}

{"Request ID": "up_2", "timestamp": 1795348802000, "input_tokens": 100, "output_tokens": 30}
{"Request ID": "up_2", "timestamp": 1795348802000, "input_tokens": 0, "output_tokens": 20}
{"Request ID": "", "timestamp": 1795348802000, "input_tokens": 7, "output_tokens": 7}
""".replace(",\n", ", ")


def usage(given: int, taken: int, provenance: str = "provider") -> dict[str, Any]:
    """An attempt's usage as a row keeps it."""
    tokens = {"input": given, "output": taken, "cached_input": 0, "cache_write": 0, "reasoning": 0}
    return {"tokens": tokens, "input_provenance": provenance, "output_provenance": provenance, "reported": []}


KINDS = {"csv": CSV, "json": JSON, "jsonl": JSONL}


def fill(store: Sqlite, folder: Path, **ids: str) -> None:
    """A row for each request of that number, with the upstream's id and other changes."""
    with spool(folder / "spools") as into:
        for number, name in enumerate(ids.values(), 1):
            ident, _, output = name.partition(":")
            tokens = int(output or 50)
            row = finished(number, upstream_request_id=ident, output_tokens=tokens, target="a/small")
            into.finish(frame(into.tail.next_sequence(), row))
        path = into.path
    drain(path, store)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_the_same_agrees_in_every_kind_of_export(kind: str, tmp_path: Path) -> None:
    with sqlite(tmp_path) as store:
        fill(store, tmp_path, one="up_1", two="up_2")

        assert (2, []) == compare(store, "a", read_export(KINDS[kind], kind, {}))
        agree, missing = compare(store, "b", read_export(KINDS[kind], kind, {}))
        assert (0, ["missing_here", "missing_here"]) == (agree, [one.what for one in missing])


def test_what_differs_is_listed(tmp_path: Path) -> None:
    export = read_export(CSV + "up_9,2026-11-22T12:00:09Z,1,2,3\nup_8,2026-11-22T12:00:00Z,0,0,0\n", "csv", {})
    with sqlite(tmp_path) as store:
        fill(store, tmp_path, one="up_1:51", three="up_3", nobody="", idle="up_4:0")
        agree, found = compare(store, "a", export)

    assert 0 == agree
    assert [
        Difference("missing_here", "up_2", there="input 100, output 50"),
        Difference("missing_here", "up_8", there="input 0, output 0, $0"),
        Difference("missing_here", "up_9", there="input 1, output 2, $3"),
        Difference("missing_there", "up_3", "req_2", "input 100, output 50, $0.000001234", None, "provider"),
        Difference("missing_there", "up_4", "req_4", "input 100, output 0, $0.000001234", None, "provider"),
        Difference("output_tokens", "up_1", "req_1", 51, 50, "provider"),
        Difference("without_id", "", "req_3", "input 100, output 50, $0.000001234", None, "provider"),
    ] == found
    table = structs_as_table(found).splitlines()
    assert table[0].split() == ["what", "upstream_request_id", "id", "here", "there", "provenance"]
    assert len(table) == 8


def test_a_cost_is_compared_by_the_decimals_it_was_written_with(tmp_path: Path) -> None:
    with sqlite(tmp_path) as store:
        fill(store, tmp_path, one="up_1")
        for cost, differs in {
            "0.0000012": 0,
            "0.000001": 0,
            "0": 0,
            "0.000001234": 0,
            "0.00000123": 0,
            "0.00001": 1,
        }.items():
            export = read_export(f"request_id,cost\nup_1,{cost}\n", "csv", {})
            assert (cost, differs) == (cost, len(compare(store, "a", export)[1]))


def test_only_the_exports_own_time_is_asked_of_it(tmp_path: Path) -> None:
    with sqlite(tmp_path) as store:
        fill(store, tmp_path, one="up_1", two="up_2", three="up_3")
        export = read_export(CSV, "csv", {})

        assert (2, []) == compare(store, "a", export)
        assert ["missing_there"] == [one.what for one in compare(store, "a", export, until=NOON * 2)[1]]
        assert (1, []) == compare(store, "a", export, since=NOON + 1_500_000, until=NOON + 2_500_000)


def test_columns_may_be_named(tmp_path: Path) -> None:
    export = read_export("who,read\nup_1,100\n", "csv", {"id": "who", "input": "read"})

    with sqlite(tmp_path) as store:
        fill(store, tmp_path, one="up_1")
        assert (1, []) == compare(store, "a", export)


WRONG = {
    "not JSON": ("json", "{", "is not JSON"),
    "no list": ("json", "{}", "is not a list of objects"),
    "a list of numbers": ("json", "[1]", "is not a list of objects"),
    "not JSON in a line": ("jsonl", '{"id": "a"}\nx', "is not JSONL"),
    "no ids": ("csv", "a,b\n1,2\n", "no entry has a request id"),
    "nothing": ("csv", "", "no entry has a request id"),
    "a figure that is none": ("csv", "id,input_tokens\nup_1,many\n", "entry 1 holds a figure that is none"),
    "less than nothing": ("csv", "id,input_tokens\nup_1,-1\n", "entry 1 holds a figure that is none"),
    "not a number": ("json", '[{"id": "up_1", "input_tokens": "NaN"}]', "entry 1 holds a figure that is none"),
    "a time that is none": ("csv", "id,created_at\nup_1,noon\n", "entry 1 holds a figure that is none"),
}


@pytest.mark.parametrize("kind, text, words", WRONG.values(), ids=WRONG)
def test_what_is_no_export_is_said(kind: str, text: str, words: str) -> None:
    with pytest.raises(NotAnExport, match=words):
        read_export(text, kind, {})


LEFT = [
    {"target": "a/small", "outcome": "upstream_error", "status": 200, "usage": usage(30, 4), "decisive": False},
    {"target": "a/small", "outcome": "upstream_lost", "status": 0, "usage": usage(0, 0, "none"), "decisive": False},
    {"target": "b/large", "outcome": "completed", "status": 200, "usage": usage(100, 50), "decisive": True},
]
LEFT[0] |= {"upstream_request_id": "up_left", "price": "p1", "cost": 234}
LEFT[1] |= {"upstream_request_id": "up_lost", "price": "", "cost": None}


@pytest.mark.parametrize(
    "upstream, export, differences",
    [
        ("a", [("up_left", 30, 4, "0.000000234")], []),
        ("a", [("up_left", 30, 5, "0.000000234")], [("output_tokens", "up_left")]),
        ("a", [("up_left", 30, 4, "0.000000234"), ("up_lost", 0, 0, 0)], []),
        ("a", [("up_x", 1, 1, "")], [("missing_here", "up_x"), ("missing_there", "up_left")]),
        ("b", [("up_1", 100, 50, "0.000001")], []),
        ("b", [("up_1", 100, 50, "0.000001234")], [("cost", "up_1")]),
        ("c", [("up_left", 30, 4, "")], [("missing_here", "up_left")]),
    ],
    ids=[
        *("what was left", "its figures", "one without usage", "not in the export", "what decided", "at its own cost"),
        "another upstream's",
    ],
)
def test_attempts_that_were_left_are_requests_of_their_own(
    upstream: str, export: list[tuple[Any, ...]], differences: list[tuple[str, str]], tmp_path: Path
) -> None:
    head = ("id", "input_tokens", "output_tokens", "cost", "created")
    kept = finished(1, upstream_request_id="up_1", target="b/large", attempts=json.dumps(LEFT), cost=1234)
    entries = [dict(zip(head, (*entry, kept.received_at / 1e6), strict=True)) for entry in export]
    with sqlite(tmp_path) as store:
        store.write(Batch("i", ends([("i", 1, *astuple(kept))]), Place(1, 1)))
        agree, found = compare(store, upstream, read_export(json.dumps(entries), "json", {}))

    assert differences == [(one.what, one.upstream_request_id) for one in found]
    assert len(export) - len({ident for what, ident in differences if what != "missing_there"}) == agree


def test_the_tokens_of_rows_that_share_an_id_are_summed(tmp_path: Path) -> None:
    export = read_export(json.dumps([{"id": "up_1", "input_tokens": 200, "output_tokens": 100}]), "json", {})

    with sqlite(tmp_path) as store:
        fill(store, tmp_path, one="up_1", again="up_1")
        assert (1, []) == compare(store, "a", export)
