"""What attempts used that were left for another: on the provider's bill, so in the row's cost, and found by its ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.kit.books import rows_of, stored
from tests.kit.exact import Figures, nano_dollars, whole_credits
from tests.kit.ledger import column
from tests.kit.pair import pair
from tests.kit.words import DONE, FINISH, HELLO

from sluicegate.demo.scripts import Script, respond
from sluicegate.ledger.recompute import recompute
from sluicegate.ledger.reconcile import compare, read_export
from sluicegate.store.sqlite import Sqlite

ONE, TWO = {"input": "1.000001", "output": "2"}, {"input": "10", "output": "20", "request": "0.01"}
CREDITS = {"per_dollar": "1000000", "rounding": "up"}
FIRST, SECOND = Figures(1001, 3), Figures(2002, 44)
IN_BAND = b'data: {"error":{"message":"Oops","type":"server_error","param":null,"code":null}}\n\n'


def usage(figures: Figures) -> bytes:
    """The usage event."""
    return (
        'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":'
        f'{{"prompt_tokens":{figures.input},"completion_tokens":{figures.output}}}}}\n\n'
    ).encode()


def fails(figures: Figures, ident: str) -> Script:
    """An upstream that says what it used, and then that it has failed."""
    return respond(usage(figures), IN_BAND, headers=[("x-request-id", ident)])


def answers(figures: Figures, ident: str) -> Script:
    """An upstream that answers."""
    return respond(HELLO, FINISH, usage(figures), DONE, headers=[("x-request-id", ident)])


def export(*entries: tuple[str, Figures, int]) -> Any:
    """An upstream's own log."""
    lines = [
        {"id": ident, "input_tokens": figures.input, "output_tokens": figures.output, "cost": f"{cost / 1e9:.9f}"}
        for ident, figures, cost in entries
    ]
    return read_export(json.dumps(lines), "json", {})


async def served(folder: Path, first: Script, second: Script, *prices: dict[str, Any]) -> dict[str, Any]:
    """A request of two attempts; gives its row in the log."""
    async with pair(folder, settings={"prices": prices, "credits": CREDITS}) as two:
        two.one.script("m", first)
        two.two.script("m", second)
        await two.ask(stream=True)
        row = await two.gateway.row(requested_model="m")
        await rows_of(folder, 1)
        return row


PRICES = ({"model": "one/m"} | ONE, {"model": "two/m"} | TWO)
FIRST_COST, SECOND_COST = nano_dollars(ONE, FIRST), nano_dollars(TWO, SECOND)


def opened(folder: Path) -> Sqlite:
    """The gateway's store."""
    store = Sqlite(str(folder / "sluicegate.db"))
    store.open()
    return store


async def test_a_fallbacks_row_costs_what_both_upstreams_bill(tmp_path: Path) -> None:
    logged = await served(tmp_path, fails(FIRST, "up_first"), answers(SECOND, "up_second"), *PRICES)
    [row] = stored(tmp_path)

    assert (200, SECOND.input, SECOND.output) == tuple(
        column(row, name) for name in ("status", "input_tokens", "output_tokens")
    )
    billed = whole_credits(SECOND_COST, CREDITS["per_dollar"], "up")
    assert (FIRST_COST + SECOND_COST, billed) == (column(row, "cost"), column(row, "credits"))
    assert (column(row, "cost"), column(row, "credits")) == (logged["cost"], logged["credits"])
    kept = json.loads(column(row, "attempts"))
    assert logged["attempts"] == kept
    first, second = kept
    assert (False, "up_first", FIRST_COST) == (first["decisive"], first["upstream_request_id"], first["cost"])
    assert (True, "up_second", False) == (second["decisive"], second["upstream_request_id"], "cost" in second)
    store = opened(tmp_path)
    assert (1, FIRST_COST + SECOND_COST, []) == (
        (done := recompute(store, 0, 2**62)).rows,
        done.cost,
        done.differences,
    )
    assert (1, []) == compare(store, "one", export(("up_first", FIRST, FIRST_COST)))
    assert (1, []) == compare(store, "two", export(("up_second", SECOND, SECOND_COST)))
    store.close()


async def test_where_all_fail_the_primary_decides_and_the_rest_is_billed_too(tmp_path: Path) -> None:
    await served(tmp_path, fails(FIRST, "up_first"), fails(SECOND, "up_second"), *PRICES)
    [row] = stored(tmp_path)
    first, second = json.loads(column(row, "attempts"))

    assert (502, "one/m", "up_first", FIRST.input) == tuple(
        column(row, name) for name in ("status", "target", "upstream_request_id", "input_tokens")
    )
    assert FIRST_COST + SECOND_COST == column(row, "cost")
    assert (True, False) == (first["decisive"], "cost" in first)
    assert (False, SECOND_COST) == (second["decisive"], second["cost"])
    store = opened(tmp_path)
    assert [] == recompute(store, 0, 2**62).differences
    assert (1, []) == compare(store, "one", export(("up_first", FIRST, FIRST_COST)))
    assert (1, []) == compare(store, "two", export(("up_second", SECOND, SECOND_COST)))
    store.close()


@pytest.mark.parametrize(
    ("priced", "cost", "of_the_first"),
    [(PRICES[1], SECOND_COST, None), (PRICES[0], None, FIRST_COST)],
    ids=["what was left has no price", "what decided has none"],
)
async def test_what_has_no_price_has_no_cost(
    tmp_path: Path, priced: dict[str, Any], cost: int | None, of_the_first: int | None
) -> None:
    logged = await served(tmp_path, fails(FIRST, "up_first"), answers(SECOND, "up_second"), priced)
    [row] = stored(tmp_path)

    assert (cost, of_the_first) == (column(row, "cost"), logged["attempts"][0]["cost"])
    store = opened(tmp_path)
    assert [] == recompute(store, 0, 2**62).differences
    store.close()


async def test_an_attempt_that_used_nothing_costs_nothing(tmp_path: Path) -> None:
    logged = await served(tmp_path, respond(IN_BAND), answers(SECOND, "up_second"), *PRICES)

    assert (SECOND_COST, "", None) == (logged["cost"], *(logged["attempts"][0][name] for name in ("price", "cost")))
