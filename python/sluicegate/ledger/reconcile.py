"""The ledger beside what an upstream says itself: its usage export, or its own log; request by request.

Rules: requests are known by the upstream's own id. Columns are found by the names that exports use, or by those one is
told. Input and output have this gateway's meaning: what an export counts beside its input, cache reads and writes, is
added to it. A request that stands in several lines is their sum. An attempt that was left for another is a request of
its own, with its own cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
import csv
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
import io
from types import MappingProxyType
from typing import Any, Final

import msgspec

from sluicegate.ledger.left import left
from sluicegate.ledger.report import PLACE, in_dollars, rows_between
from sluicegate.store.interface import Row, Store

#: What an export's columns may be called, the likeliest first; nested members by dots.
NAMES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "id": ("upstream_request_id", "request_id", "x_request_id", "generation_id", "id"),
        "input": (
            *("input_tokens", "prompt_tokens", "usage.input_tokens", "usage.prompt_tokens"),
            *("tokens_prompt", "n_context_tokens_total"),
        ),
        "output": (
            *("output_tokens", "completion_tokens", "usage.output_tokens", "usage.completion_tokens"),
            *("tokens_completion", "n_generated_tokens_total"),
        ),
        "cost": ("cost", "cost_usd", "total_cost", "usage.cost"),
        "time": ("received_at", "created_at", "created", "timestamp", "time"),
    }
)
#: What stands beside an export's input and is a part of ours.
_BESIDE: Final = ("cache_read_input_tokens", "cache_creation_input_tokens")
_BILLION: Final = 10**9
_MICROS: Final = 1_000_000
#: How much before and after an export's times its requests are looked for.
_AROUND: Final = 86_400 * _MICROS
#: Times above this are not seconds since 1970 but milliseconds.
_MILLIS: Final = 100_000_000_000


class NotAnExport(Exception):
    """What was given cannot be read as an export; the words say why."""


class Said(msgspec.Struct):
    """What one side says of a request; None where it says nothing. ``cost`` in nano-dollars, ``at`` in microseconds."""

    input: int | None = None
    output: int | None = None
    cost: int | None = None
    at: int | None = None
    #: How many decimals of a dollar the cost was written with.
    places: int = 9
    #: Our own request's id, and where its figures came from.
    id: str = ""
    provenance: str = ""


class Difference(msgspec.Struct, frozen=True, omit_defaults=True):
    """What does not agree: ``missing_here``, ``missing_there``, ``without_id``, or the figure of this name."""

    what: str
    upstream_request_id: str
    id: str = ""
    here: int | str | None = None
    there: int | str | None = None
    provenance: str = ""


def read_export(text: str, kind: str, fields: Mapping[str, str]) -> dict[str, Said]:
    """Read an export (``csv``, ``json`` or ``jsonl``) by request id. ``fields`` names columns. Raises NotAnExport."""
    found: dict[str, Said] = {}
    columns: dict[str, str] = {}
    for number, line in enumerate(_lines(text, kind), 1):
        flat = dict(_flat(line))
        for what, names in NAMES.items():
            name = fields.get(what) or columns.get(what) or next((name for name in names if name in flat), "")
            if name:
                columns[what] = name
        ident = str(flat.get(columns.get("id", ""), "") or "")
        if not ident:
            continue
        try:
            _add(found.setdefault(ident, Said(0, 0)), flat, columns)
        except (ValueError, InvalidOperation):
            raise NotAnExport(f"entry {number} holds a figure that is none") from None
    if "id" not in columns:
        raise NotAnExport(f"no entry has a request id; looked for {', '.join(NAMES['id'])}: say --field id=COLUMN")
    for said in found.values():
        said.input = said.input if "input" in columns else None
        said.output = said.output if "output" in columns else None
    return found


def compare(
    store: Store, upstream: str, export: Mapping[str, Said], since: int | None = None, until: int | None = None
) -> tuple[int, list[Difference]]:
    """Compare the rows of an upstream with its export; gives how many requests agree, and what does not.

    ``since`` and ``until`` (microseconds) bound what is asked of the export; without them its own times do. Raises
    StoreError.
    """
    times = [said.at for said in export.values() if said.at is not None]
    since = since if since is not None else min(times, default=0)
    until = until if until is not None else max(times, default=2**62) + 1
    here: dict[str, Said] = {}
    found: list[Difference] = []
    for row in rows_between(store, max(0, since - _AROUND), min(2**62, until + _AROUND)):
        for ident, said in _told(row, f"{upstream}/"):
            if ident:
                _join(here, ident, said)
            elif (said.input or said.output) and since <= row[PLACE["received_at"]] < until:
                found.append(Difference("without_id", "", said.id, here=_figures(said), provenance=said.provenance))
    for ident, said in here.items():
        if ident not in export and said.at is not None and since <= said.at < until and (said.input or said.output):
            found.append(Difference("missing_there", ident, said.id, here=_figures(said), provenance=said.provenance))
    agree = 0
    for ident, there in export.items():
        if there.at is not None and not since <= there.at < until:
            continue
        if ident not in here:
            found.append(Difference("missing_here", ident, there=_figures(there)))
        elif differences := list(_figures_that_differ(ident, here[ident], there)):
            found += differences
        else:
            agree += 1
    return agree, sorted(found, key=lambda one: (one.what, one.upstream_request_id, one.id))


def _lines(text: str, kind: str) -> Iterator[Mapping[str, Any]]:
    try:
        if kind == "csv":
            yield from csv.DictReader(io.StringIO(text), strict=True)
            return
        if kind == "jsonl":
            entries: Any = [msgspec.json.decode(line) for line in text.splitlines() if line.strip()]
        else:
            entries = msgspec.json.decode(text)
            if isinstance(entries, dict):
                entries = next((part for part in entries.values() if isinstance(part, list)), None)
    except (csv.Error, msgspec.DecodeError) as error:
        raise NotAnExport(f"is not {kind.upper()}: {error}") from None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise NotAnExport("is not a list of objects")
    yield from entries


def _flat(entry: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in entry.items():
        known = above + str(name).strip().lower().replace(" ", "_").replace("-", "_")
        if isinstance(value, dict):
            yield from _flat(value, f"{known}.")
        else:
            yield known, value


def _add(said: Said, flat: Mapping[str, Any], columns: Mapping[str, str]) -> None:
    prefix = columns.get("input", "").rpartition(".")[0]
    beside = [f"{prefix}.{name}" if prefix else name for name in _BESIDE]
    said.input = (said.input or 0) + sum(_count(flat.get(name)) for name in (columns.get("input", ""), *beside))
    said.output = (said.output or 0) + _count(flat.get(columns.get("output", "")))
    if (cost := flat.get(columns.get("cost", ""))) not in (None, ""):
        exact = Decimal(str(cost))
        exponent = exact.as_tuple().exponent
        said.places = min(9, max(0, -exponent)) if isinstance(exponent, int) else 9
        said.cost = (said.cost or 0) + int((exact * _BILLION).to_integral_value(ROUND_HALF_UP))
    if (at := _moment(flat.get(columns.get("time", "")))) is not None:
        said.at = at if said.at is None else min(said.at, at)


def _count(value: object) -> int:
    if value is None or value == "":
        return 0
    exact = Decimal(str(value))
    if exact != int(exact) or exact < 0:
        raise ValueError
    return int(exact)


def _moment(value: object) -> int | None:
    """Read a time: ISO 8601 (UTC if it names no zone), or seconds or milliseconds since 1970."""
    if value is None or value == "":
        return None
    try:
        number = float(str(value))
    except ValueError:
        read = datetime.fromisoformat(str(value))
        return int((read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp() * _MICROS)
    return int(number * (1000 if number >= _MILLIS else _MICROS))


def _told(row: Row, prefix: str) -> Iterator[tuple[str, Said]]:
    """What a row says of requests to targets that begin so, by the upstream's ids: the answer's, and those left."""
    attempts = left(row) or ()
    at, ident, cost = row[PLACE["received_at"]], row[PLACE["id"]], row[PLACE["cost"]]
    if row[PLACE["target"]].startswith(prefix):
        if cost is not None:
            cost -= sum(attempt.cost or 0 for attempt in attempts)
        provenance = _both(row[PLACE["input_provenance"]], row[PLACE["output_provenance"]])
        said = Said(row[PLACE["input_tokens"]], row[PLACE["output_tokens"]], cost, at, id=ident, provenance=provenance)
        yield row[PLACE["upstream_request_id"]], said
    for attempt in attempts:
        if attempt.target.startswith(prefix):
            usage = attempt.usage
            provenance = _both(usage.input_provenance, usage.output_provenance)
            said = Said(usage.tokens.input, usage.tokens.output, attempt.cost, at, id=ident, provenance=provenance)
            yield attempt.upstream_request_id, said


def _both(given: str, taken: str) -> str:
    return "/".join(sorted({given, taken}))


def _join(here: dict[str, Said], ident: str, said: Said) -> None:
    known = here.get(ident)
    if known is None:
        here[ident] = said
        return
    known.input = (known.input or 0) + (said.input or 0)
    known.output = (known.output or 0) + (said.output or 0)
    known.cost = None if known.cost is None or said.cost is None else known.cost + said.cost


def _figures_that_differ(ident: str, here: Said, there: Said) -> Iterable[Difference]:
    for what, ours, theirs in (
        ("input_tokens", here.input, there.input),
        ("output_tokens", here.output, there.output),
    ):
        if theirs is not None and ours != theirs:
            yield Difference(what, ident, here.id, ours, theirs, here.provenance)
    if there.cost is not None and here.cost is not None and _rounded(here.cost, there.places) != there.cost:
        yield Difference("cost", ident, here.id, in_dollars(here.cost), in_dollars(there.cost), here.provenance)


def _rounded(nano: int, places: int) -> int:
    """Round nano-dollars to so many decimals of a dollar, as whoever wrote the other figure did."""
    unit = int(10 ** (9 - places))
    return (nano + unit // 2) // unit * unit


def _figures(said: Said) -> str:
    figures = [("input", said.input), ("output", said.output)]
    shown = [f"{name} {count}" for name, count in figures if count is not None]
    if said.cost is not None:
        shown.append(f"${in_dollars(said.cost)}")
    return ", ".join(shown)
