"""The invariant: what was used stands once in the metrics, in the rows, in the store, and is what the upstreams said.

Joined by the request's id. Summed are the figures that somebody gave: a row's ``provider`` ones are its upstream's last
word, its ``partial`` ones the last word before a cut. Estimates are compared between metrics, rows and store only.
What an upstream said to a connection whose client had left meanwhile is listed, not summed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
import json
from typing import Any, NamedTuple

from tests.kit.exact import Figures, nano_dollars, whole_credits
from tests.soak.soak import CREDITS, PRICES, Stored, Story

Rows = dict[str, dict[str, Any]]
#: Provenances whose figures an upstream has given.
GIVEN = ("provider", "partial")
IN, OUT = ("input", "cached_input", "cache_write"), ("output", "reasoning")
#: A column of the table: by outcome (status and error) or by direction and provenance.
Sums = Counter[tuple[str, str]]


class Part(NamedTuple):
    """What one attempt of a request used, and who says so."""

    target: str
    tokens: Figures
    given: str
    taken: str


class Entry(NamedTuple):
    """A request as one observer has it: how it ended, what each attempt used (the deciding one first), what it cost."""

    end: tuple[str, str]
    parts: tuple[Part, ...]
    cost: int | None
    credits: int | None


def invariant(story: Story, rows: Rows) -> Iterator[str]:
    """What does not fit of tokens and money between metrics, rows, store and upstreams."""
    logged, stored = from_log(rows), from_store(story.stored)
    if len(stored) != len(story.stored):
        yield f"the store has {len(story.stored)} rows of {len(stored)} requests"
    yield from (f"the store has {ident}, of which there is no row" for ident in stored.keys() - logged.keys())
    for ident, entry in logged.items():
        kept = stored.get(ident)
        if kept is None and rows[ident]["attempts"]:
            yield f"row {ident} was sent on and is not in the store"
        if kept is not None and kept != entry:
            yield f"row {ident} says {entry}, the store {kept}"
        if kept is not None and kept.cost != (right := cost(kept.parts)):
            yield f"row {ident} cost {kept.cost}, its tokens come to {right}"
        if kept is not None and kept.credits != (whole := in_credits(kept.parts[0])):
            yield f"row {ident} is billed {kept.credits} credits, its answer comes to {whole}"
        yield from (f"row {ident}: {fault}" for fault in beside_upstream(entry, story.said.get(ident, [])))
    counted = metric_sums(story)
    for name, sums in (("rows", sums_of(logged.values())), ("store", sums_of(stored.values()))):
        for key in sorted(counted.keys() | sums.keys()):
            if key[0] in IN + OUT and counted[key] != sums[key]:
                yield f"the metrics have {counted[key]} tokens {key}, the {name} {sums[key]}"
    yield from daily(story)
    yield from (f"worked out again it differs: {found}" for found in story.differences)


def from_log(rows: Rows) -> dict[str, Entry]:
    """The access log's rows."""
    return {
        ident: Entry(
            (str(row["status"]), row["error_code"]),
            (part(row["target"], row["usage"]), *left(row["attempts"])),
            row["cost"],
            row["credits"],
        )
        for ident, row in rows.items()
    }


def from_store(stored: Iterable[Stored]) -> dict[str, Entry]:
    """The store's rows."""
    return {
        row["id"]: Entry(
            (str(row["status"]), row["error_code"]),
            (
                Part(
                    row["target"],
                    Figures(
                        *(row[f"{name}_tokens"] for name in ("input", "output", "cached", "cache_write", "reasoning"))
                    ),
                    row["input_provenance"],
                    row["output_provenance"],
                ),
                *left(json.loads(row["attempts"] or "[]")),
            ),
            row["cost"],
            row["credits"],
        )
        for row in stored
    }


def left(attempts: Iterable[dict[str, Any]]) -> Iterator[Part]:
    """What attempts reported that did not become the answer."""
    for attempt in attempts:
        if not attempt["decisive"] and attempt["usage"]["input_provenance"] != "none":
            yield part(attempt["target"], attempt["usage"])


def part(target: str, usage: dict[str, Any]) -> Part:
    """An attempt's usage as rows tell it."""
    return Part(target, Figures(**usage["tokens"]), usage["input_provenance"], usage["output_provenance"])


def beside_upstream(entry: Entry, said: list[Figures]) -> Iterator[str]:
    """What does not fit between a row and what its upstreams have said to it."""
    told = Counter(part.tokens for part in entry.parts if part.taken in GIVEN)
    if more := told - Counter(said):
        yield f"it has {list(more)}, of which no upstream spoke: they said {said}"
    if (less := Counter(said) - told) and entry.end[1] != "client_disconnected":
        yield f"the upstream said {list(less)}, which it does not have"


def cost(parts: Iterable[Part]) -> int | None:
    """What a request comes to in nano-dollars, by the price table and exact decimals."""
    deciding, *left = (price_of(part) for part in parts)
    return None if deciding is None else deciding + sum(one or 0 for one in left)


def price_of(part: Part) -> int | None:
    """What one attempt comes to."""
    upstream = part.target.partition("/")[0]
    base = next((price for price in PRICES if price["model"] == f"{upstream}/*"), None)
    if base is None:
        return None
    if part.given == part.taken == "none":
        return 0
    return nano_dollars(base, part.tokens)


def in_credits(deciding: Part) -> int | None:
    """What the deciding attempt comes to in credits."""
    nano = price_of(deciding)
    return None if nano is None else whole_credits(nano, CREDITS["per_dollar"], CREDITS["rounding"])


def sums_of(entries: Iterable[Entry]) -> Sums:
    """Requests by outcome, tokens by direction and provenance."""
    sums: Sums = Counter()
    for entry in entries:
        sums[entry.end] += 1
        for one in entry.parts:
            for names, provenance in ((IN, one.given), (OUT, one.taken)):
                if provenance != "none":
                    sums.update({(name, provenance): getattr(one.tokens, name) for name in names})
    return sums


def metric_sums(story: Story) -> Sums:
    """The same from the metrics."""
    sums: Sums = Counter()
    for (series, labels), value in story.moved.values.items():
        by = dict(labels)
        if series == "sluicegate_requests_total":
            sums[by["status"], by["error_type"]] += int(value)
        if series == "sluicegate_tokens_total":
            sums[by["direction"], by["provenance"]] += int(value)
    return sums


def daily(story: Story) -> Iterator[str]:
    """What does not fit between the store's rows and its sums of days."""
    for name in story.summed[0] if story.summed else ():
        if name not in ("day", "model", "target", "caller", "caller_group"):
            told = sum(line[name] for line in story.summed)
            if name == "requests":
                right = len(story.stored)
            elif name == "unpriced":
                right = sum(row["cost"] is None for row in story.stored)
            else:
                right = sum(row[name] or 0 for row in story.stored)
            if told != right:
                yield f"the sums of days have {told} {name}, the rows {right}"


def columns(story: Story, rows: Rows) -> str:
    """The table: each figure as the metrics, the access log, the store and the upstreams have it."""
    logged, stored = from_log(rows), from_store(story.stored)
    metrics, log, store = metric_sums(story), sums_of(logged.values()), sums_of(stored.values())
    heard = sums_of(entry for ident, entry in logged.items() if ident in story.seen)
    said: Counter[str] = Counter()
    unread: Counter[str] = Counter()
    for ident, told in story.said.items():
        for figures in told:
            said.update(figures._asdict())
        for figures in (Counter(told) - Counter(one.tokens for one in logged[ident].parts)).elements():
            unread.update(figures._asdict())
    ends = sorted(key for key in metrics | log | store if key[0] not in IN + OUT)
    lines = [
        ("", "metrics", "rows", "store", "upstreams"),
        *((" ".join(end), *(str(column[end]) for column in (metrics, log, store, heard))) for end in ends),
    ]
    for name in IN + OUT:
        sums = [sum(column[name, provenance] for provenance in GIVEN) for column in (metrics, log, store)]
        lines.append((f"{name} tokens", *map(str, sums), f"{said[name] - unread[name]} (+ {unread[name]} unread)"))
    for name in ("input", "output"):
        guessed = (str(column[name, "estimated"]) for column in (metrics, log, store))
        lines.append((f"{name} estimated", *guessed, "-"))
    costs = (sum(entry.cost or 0 for entry in entries.values()) for entries in (logged, stored))
    right = sum(cost(entry.parts) or 0 for entry in stored.values())
    lines.append(("nano-dollars", "-", *map(str, costs), f"{right} (recomputed)"))
    billed = (sum(entry.credits or 0 for entry in entries.values()) for entries in (logged, stored))
    whole = sum(in_credits(entry.parts[0]) or 0 for entry in stored.values())
    lines.append(("credits", "-", *map(str, billed), f"{whole} (recomputed)"))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) if place == 0 else cell.rjust(width) for place, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(line, widths, strict=True)) for line in lines)
    )
