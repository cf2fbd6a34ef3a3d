"""The reckoning of a soak: every request at every observer, exactly; and what the gateway still holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
import json
from statistics import median
from typing import Any

from tests.soak.cases import Case, Ending
from tests.soak.invariant import columns, invariant
from tests.soak.soak import Asked, Story

MIB = 1 << 20
#: Resident memory may differ by so much between the middle of a soak and its end: allocators keep what they had.
SLACK = 8 * MIB
Rows = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Reckoning:
    """What does not add up, and the figures."""

    wrong: list[str]
    figures: dict[str, str]
    columns: str
    """The same figures as the metrics, the rows, the store and the upstreams have them, side by side."""


def reckon(story: Story) -> Reckoning:
    """Compare what the clients, the upstreams, the rows and the metrics say."""
    rows, odd = read_rows(story.log)
    wrong = [
        *(f"a client failed: {failure}" for failure in story.failures),
        *(f"the log says {line!r}" for line in odd),
        *each_request(story, rows),
        *totals(story, rows),
        *invariant(story, rows),
        *(holdings(story) if story.alone else ()),
    ]
    return Reckoning(wrong, figures(story, rows), columns(story, rows))


def read_rows(log: str) -> tuple[Rows, list[str]]:
    """The log's rows by id, and the lines that are none (the one about descriptors aside)."""
    rows: Rows = {}
    odd = []
    for line in log.split("\n"):
        if line.startswith("{"):
            row = json.loads(line)
            if row["id"] in rows:
                odd.append(f"a second row for {row['id']}")
            rows[row["id"]] = row
        elif line and "open files allow" not in line:
            odd.append(line)
    return rows, odd


def each_request(story: Story, rows: Rows) -> Iterator[str]:
    """What does not fit, request by request: client and row, row and upstream."""
    for ident, asked in story.asked.items():
        row = rows.get(ident)
        if row is None:
            if not asked.case.maybe:
                yield f"{asked.case.name} {ident}: no row"
            continue
        yield from (f"{asked.case.name} {ident}: {fault}" for fault in one(asked, row, story.seen[ident]))
    known = story.asked.keys()
    failed = len(story.failures)
    yield from (f"row {ident} is nobody's" for ident in rows.keys() - known if not failed)
    yield from (f"the upstream saw {ident}, of which there is no row" for ident in story.seen.keys() - rows.keys())


def one(asked: Asked, row: dict[str, Any], seen: int) -> Iterator[str]:
    """What does not fit of one request."""
    case, end = asked.case, (row["status"], row["error_code"])
    if end not in case.ends:
        yield f"its row ends {end}, not {sorted(case.ends)}"
    if case.whole and asked.told is None:
        yield f"its client was cut off, its row says {end}"
    if asked.told is not None and not tells(asked.told, end):
        yield f"its client was told {asked.told}, its row says {end}"
    expected = len(row["attempts"])
    if seen not in ({expected, expected + 1} if case.again else {0, expected} if case.maybe else {expected}):
        yield f"the upstream saw it {seen} times, its row has {expected} attempts"
    if case.usage and case.ends == {end} and row["usage"]["output_provenance"] != "provider":
        yield f"its usage is {row['usage']}"


def tells(told: Ending, end: Ending) -> bool:
    """Whether a client's answer and its row are the same story; an upstream's own words may stand for our code."""
    return told == end or (told[0] == end[0] and told[1] != "" and end[1].startswith("upstream_"))


def totals(story: Story, rows: Rows) -> Iterator[str]:
    """What does not fit in sum: the metrics against the rows, and the refused against their clients."""
    counted = Counter((row["status"], row["error_code"]) for row in rows.values())
    yield from differences("requests_total", by_end(story, "sluicegate_requests_total"), counted)
    refused: Counter[Ending] = Counter()
    for asked in story.unasked:
        assert asked.case.refused is not None
        refused[asked.case.refused] += 1
        if asked.case.whole and asked.told != asked.case.refused:
            yield f"{asked.case.name}: its client was told {asked.told}"
    shown = by_end(story, "sluicegate_refused_requests_total")
    if not story.failures:
        yield from differences("refused_requests_total", shown, refused)
    durations = story.moved.get("sluicegate_request_duration_seconds_count")
    if durations != len(rows):
        yield f"{durations:.0f} durations were measured of {len(rows)} requests"


def by_end(story: Story, name: str) -> Counter[Ending]:
    """A counter of the metrics by status and error."""
    found: Counter[Ending] = Counter()
    for (series, labels), value in story.moved.values.items():
        if series == name:
            by = dict(labels)
            found[int(by["status"]), by["error_type"]] += int(value)
    return found


def differences(name: str, metric: Counter[Ending], rows: Counter[Ending]) -> Iterator[str]:
    """Where a metric and the rows (or the clients) differ."""
    for end in sorted(metric.keys() | rows.keys()):
        if metric[end] != rows[end]:
            yield f"{name}{end} is {metric[end]}, and {rows[end]} were counted"


def holdings(story: Story) -> Iterator[str]:
    """What the gateway holds at its end and did not at its beginning."""
    assert story.before is not None
    assert story.after is not None
    if story.after.descriptors != story.before.descriptors:
        yield f"{story.before.descriptors} descriptors were open before, {story.after.descriptors} afterwards"
    if story.after.tasks != story.before.tasks:
        yield f"{story.before.tasks} tasks ran before, {story.after.tasks} afterwards"
    middle, end = memory(story)
    if end - middle > SLACK:
        yield f"memory grew from {middle / MIB:.1f} MiB in the middle to {end / MIB:.1f} MiB at the end"
    for gauge in ("sluicegate_held_bytes", "sluicegate_request_body_bytes"):
        if held := story.moved.get(gauge):
            yield f"{gauge} is {held:.0f} at rest"


def memory(story: Story) -> tuple[float, float]:
    """Resident memory in the middle third and in the last one."""
    third = max(1, len(story.rss) // 3)
    return median(story.rss[third : 2 * third] or story.rss), median(story.rss[-third:])


def figures(story: Story, rows: Rows) -> dict[str, str]:
    """What a reader wants to know."""
    cases: Counter[Case] = Counter(asked.case for asked in (*story.asked.values(), *story.unasked))
    faults = sum(count for case, count in cases.items() if case.weight <= 1)
    told = {
        "seconds": f"{story.seconds:.0f}",
        "requests": f"{sum(cases.values())}, {faults} of them with one of {sum(c.weight <= 1 for c in cases)} faults",
        "rows": f"{len(rows)}; refused without one: {len(story.unasked)}",
        "in the ledger": f"{len(story.stored)}",
        "at the upstreams": f"{sum(story.seen.values())}",
    }
    if story.before is None or story.after is None:
        return told
    middle, end = memory(story)
    return told | {
        "memory": f"{story.before.rss / MIB:.1f} MiB after the warm-up, {middle / MIB:.1f} in the middle third, "
        f"{end / MIB:.1f} in the last, {story.after.rss / MIB:.1f} at rest",
        "descriptors": f"{story.before.descriptors} before, {story.after.descriptors} afterwards",
        "tasks": f"{story.before.tasks} before, {story.after.tasks} afterwards",
    }
