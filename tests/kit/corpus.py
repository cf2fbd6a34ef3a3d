"""The recorded traffic: at `$SLUICEGATE_CORPUS`, else in `../shared/corpus`. What needs it is skipped without it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
import json
import os
from pathlib import Path
from typing import Any

import pytest

BESIDE = Path(__file__).resolve().parent.parent.parent.parent / "shared" / "corpus"
CORPUS = Path(os.environ.get("SLUICEGATE_CORPUS") or BESIDE)
PRESENT = (CORPUS / "index.jsonl").is_file()

needs_corpus = pytest.mark.skipif(
    not PRESENT, reason=f"no recorded traffic: set SLUICEGATE_CORPUS, or put it at {BESIDE}"
)


@dataclass(frozen=True)
class Stream:
    """A recorded stream: its line of the index."""

    record: dict[str, Any]

    @property
    def id(self) -> str:
        """Names it in the corpus."""
        return str(self.record["id"])

    @property
    def name(self) -> str:
        """Names it in a report."""
        return f"{self.dialect}/{self.record['provider']}/{self.id}"

    @property
    def dialect(self) -> str:
        """As the index spells it."""
        return str(self.record["dialect"])

    @property
    def kind(self) -> tuple[str, str, str]:
        """What makes streams alike: dialect, provider, line ends."""
        return self.dialect, str(self.record["provider"]), str(self.record["line_ending"])

    @property
    def usage(self) -> dict[str, int]:
        """What the provider reported, in our names, before folding; empty if nothing."""
        return dict(self.record["usage"] or {})

    def read(self) -> bytes:
        """The bytes as a client received them."""
        return (CORPUS / str(self.record["file"])).read_bytes()


def _lines(name: str) -> list[dict[str, Any]]:
    if not PRESENT:
        return []
    return [json.loads(line) for line in (CORPUS / name).read_text(encoding="utf-8").splitlines()]


def streams() -> list[Stream]:
    """Every recorded stream."""
    return [Stream(record) for record in _lines("index.jsonl")]


def errors() -> list[dict[str, Any]]:
    """Every recorded error answer."""
    return _lines("errors.jsonl")


def usage_cases() -> list[dict[str, Any]]:
    """Every hostile JSON around a usage event."""
    return _lines("json_usage_cases.jsonl")


def first_of_each_kind(every: list[Stream], count: int) -> Iterator[Stream]:
    """The first `count` streams of each kind."""
    seen: dict[tuple[str, str, str], int] = {}
    for stream in every:
        seen[stream.kind] = seen.get(stream.kind, 0) + 1
        if seen[stream.kind] <= count:
            yield stream
