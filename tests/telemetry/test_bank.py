"""The native bank by itself: its table, its slots, its speed, and what several banks show together."""

from __future__ import annotations

from collections.abc import Callable
import mmap
import time

import pytest

from sluicegate import _native

Families = list[tuple[str, str, str, tuple[str, ...], tuple[float, ...], int]]


def bank_of(families: Families) -> _native.Bank:
    return _native.Bank(families, mmap.mmap(-1, _native.Bank.memory_needed(families)))


def test_a_scrape_of_500_series_takes_less_than_5_ms(record_property: Callable[[str, object], None]) -> None:
    buckets = tuple(0.01 * 2**power for power in range(14))
    bank = bank_of(
        [
            ("requests_total", "counter", "Requests.", ("model", "target"), (), 500),
            ("duration_seconds", "histogram", "Duration.", ("model", "target"), buckets, 500),
        ]
    )
    for number in range(500):
        bank.add(bank.slot("requests_total", f"model-{number}", "upstream/model"), number)
        bank.observe_seconds(bank.slot("duration_seconds", f"model-{number}", "upstream/model"), number / 10)
    text, spent = b"", []
    for _ in range(50):
        started = time.thread_time()
        text = _native.exposition([bank])
        spent.append(time.thread_time() - started)

    assert len(text.splitlines()) == 4 + 500 + 500 * 17
    record_property("scrape_ms", round(min(spent) * 1000, 3))
    print(f"500 counters and 500 histograms, {len(text)} bytes: {min(spent) * 1000:.2f} ms")  # noqa: T201
    if _native.build_profile == "release":
        assert min(spent) < 0.005


@pytest.mark.parametrize(
    "families, offence",
    [
        ([("a", "summary", "", (), (), 0)], "a: summary is not counter, gauge, level or histogram"),
        ([("a", "histogram", "", (), (2.0, 1.0), 0)], "a needs ascending buckets"),
        ([("a", "gauge", "", (), (), 0)] * 2, "a is declared twice"),
    ],
)
def test_a_table_that_cannot_be_served_is_refused(families: Families, offence: str) -> None:
    with pytest.raises(ValueError, match=f"^{offence}$"):
        bank_of(families)


def test_a_bank_asked_for_what_it_has_not_says_so() -> None:
    bank = bank_of([("a_total", "counter", "", ("x",), (), 2)])
    slot = bank.slot("a_total", "1")

    with pytest.raises(KeyError, match="b_total"):
        bank.slot("b_total")
    with pytest.raises(ValueError, match="a_total: expected 1 label values, got 2"):
        bank.slot("a_total", "1", "2")
    with pytest.raises(KeyError):
        bank.value(2**40)
    assert bank.value(slot) == 0


def test_memory_that_cannot_be_counted_in_is_refused() -> None:
    families: Families = [("a_total", "counter", "", ("x",), (), 2)]
    size = _native.Bank.memory_needed(families)

    with pytest.raises(ValueError, match="needs more cells than there are"):
        _native.Bank(families, bytearray(size - 8))
    with pytest.raises(ValueError, match="must be writable, contiguous and aligned"):
        _native.Bank(families, bytes(size))
    with pytest.raises(ValueError, match="must be writable, contiguous and aligned"):
        _native.Bank(families, memoryview(bytearray(size + 1))[1:])
    with pytest.raises(TypeError):
        _native.Bank(families, 7)  # type: ignore[arg-type]


def test_memory_stays_while_a_bank_counts_in_it() -> None:
    families: Families = [("a_total", "counter", "", (), (), 0)]
    memory = mmap.mmap(-1, _native.Bank.memory_needed(families))
    bank = _native.Bank(families, memory)

    with pytest.raises(BufferError):
        memory.close()
    bank.add(bank.slot("a_total"), 1)
    assert bank.value(bank.slot("a_total")) == 1
