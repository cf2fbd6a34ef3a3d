"""Prices from LiteLLM's public table (``model_prices_and_context_window.json``), which the user brings.

Its figures are dollars per token; they are read as decimals, never as floats. What it prices otherwise (images,
seconds, pages) is not a price of tokens and is left out, and so is what has more than nine places per million.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
import json
import re
from types import MappingProxyType
from typing import Any

_MILLION = 1_000_000
_PLACES = 9
_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "input_cost_per_token": "input",
        "output_cost_per_token": "output",
        "cache_read_input_token_cost": "cached_input",
        "cache_creation_input_token_cost": "cache_write",
        "output_cost_per_reasoning_token": "reasoning",
    }
)
_REQUEST = "input_cost_per_request"
_ABOVE = re.compile(r"(.*)_above_(\d+)k_tokens")


class NotATable(ValueError):
    """The file is not LiteLLM's table."""


def convert(text: str, source: str) -> tuple[str, int, int]:
    """Give a price file (JSON) made from the table's text, how many prices it has and how many entries were left out.

    Raises NotATable.
    """
    try:
        table = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    except ValueError as error:
        raise NotATable("is not JSON") from error
    if not isinstance(table, dict) or not all(isinstance(entry, dict) for entry in table.values()):
        raise NotATable("is not a table of models")
    prices = [price for name, entry in table.items() if (price := _price(name, entry))]
    prices.sort(key=lambda price: price["model"])
    lines = ",\n".join(json.dumps(price) for price in prices)
    return f'{{"source": {json.dumps(source)}, "prices": [\n{lines}\n]}}', len(prices), len(table) - len(prices)


def _price(name: str, entry: Mapping[str, Any]) -> dict[str, Any] | None:
    if "input_cost_per_token" not in entry or name == "sample_spec" or not name or re.search(r"[\s*]", name):
        return None
    try:
        price: dict[str, Any] = {"model": name} | dict(_rates(entry))
        if _is_amount(entry.get(_REQUEST)):
            price["request"] = _written(entry[_REQUEST])
        tiers = _tiers(entry)
    except _TooFineError:
        return None
    return price | ({"tiers": tiers} if tiers else {})


def _rates(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for theirs, ours in _NAMES.items():
        if _is_amount(entry.get(theirs)):
            yield ours, _written(entry[theirs] * _MILLION)


def _tiers(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for name, value in entry.items():
        above = _ABOVE.fullmatch(name)
        if above and above[1] in _NAMES and _is_amount(value):
            tokens = int(above[2]) * 1000
            found.setdefault(tokens, {"above": tokens})[_NAMES[above[1]]] = _written(value * _MILLION)
    return [found[tokens] for tokens in sorted(found)]


def _is_amount(value: object) -> bool:
    return isinstance(value, Decimal) and value.is_finite() and value >= 0


def _written(value: Decimal) -> str:
    if value != round(value, _PLACES):
        raise _TooFineError
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


class _TooFineError(ValueError):
    """A price that has more than nine places."""
