"""What is left of a request: its line, whatever is in it, and the records of the spool, byte for byte."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from msgspec.structs import replace
import pytest
from tests.kit.ledger import (
    ADM,
    ADMITTED,
    FIN,
    FINISHED,
    Admitted,
    Finished,
    frame,
    framed,
    frames,
    read_admitted,
    read_finished,
)
from tests.telemetry.rows import ENDED, STREAMED, USAGE, Row, exchange, row

from sluicegate import _native
from sluicegate.exchange import Attempt, Tokens, Usage
from sluicegate.store.interface import COLUMNS
from sluicegate.telemetry.metrics import Metrics


def rows() -> _native.Rows:
    return Metrics().rows("1", {})


def line(of: Row) -> bytes:
    return rows().ended(exchange(of), ENDED)[0]


def as_json(of: Row) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(json.dumps(msgspec.to_builtins(of)))
    for attempt in loaded["attempts"]:
        if attempt["decisive"]:  # the row's price and cost are its
            del attempt["price"], attempt["cost"]
    return loaded


PARTIAL = replace(USAGE, output_provenance="partial")
ROWS = {
    "streamed": STREAMED,
    "whole, with a price": row(stream=False, time_to_first_content=None, cost=12_345, credits=3, price="p1", events=0),
    "refused": row(
        attempts=(), status=404, error_code="model_not_found", outcome="model_not_found", usage=Usage(), target=""
    ),
    "left": row(status=499, left="streaming", heartbeats=3, malformed_events=2, reserved=700, group="g"),
    "a fallback": row(
        attempts=(
            Attempt(
                "b/big",
                "upstream_timeout",
                200,
                replace(USAGE, output_provenance="partial"),
                "x",
                0.1,
                1.25,
                70,
                7,
                False,
                "up_0",
                "p0",
                2**63 - 1,
            ),
            Attempt("c/big", "upstream_unavailable", 0, decisive=False),
            Attempt("a/small", "completed", 200, USAGE, "default", 1.5, 1.0, 9500, 400, True, "up_1"),
        )
    ),
    "in no time": row(overhead=0.0, received_at=0.000001, duration=0.0),
}


@pytest.mark.parametrize("of", ROWS.values(), ids=ROWS)
def test_a_line_says_all_that_the_row_says(of: Row) -> None:
    written = json.loads(line(of))

    assert list(written) == list(Row.__struct_fields__)
    assert written.pop("overhead") == pytest.approx(of.overhead, abs=1e-6)
    expected = as_json(of)
    del expected["overhead"]
    assert written == expected


HOSTILE = {
    "a line end": "fast\n{}",
    "carriage return": "fast\r\nlevel=error",
    "terminal escape": "\x1b[2J\x1b]0;owned\x07",
    "NUL, DEL and C1": "\x00\x7f\x9b31m\x85",
    "line separators": "a\u2028b\u2029c",
    "right-to-left override": "gnp\u202eexe",
    "lone surrogate": "a\ud800b",
    "quote and backslash": '","status":500,"x":"\\',
    "umlaut and emoji": "Füß 🚰",
}


def mended(text: str) -> str:
    """What is no character is replaced."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("member", ["id", "caller", "requested_model", "upstream_request_id", "endpoint"])
def test_141_a_line_is_one_event_whatever_is_in_it(member: str, text: str) -> None:
    written = line(row(**{member: text}))

    assert all(0x20 <= byte < 0x7F for byte in written)
    assert json.loads(written)[member] == mended(text)


def test_names_of_megabytes_are_not_kept() -> None:
    written = line(row(requested_model="m" * 2**20, upstream_model="ü" * 2**20, upstream_request_id="i" * 2**20))

    entry = json.loads(written)
    assert (entry["requested_model"], entry["upstream_model"]) == ("m" * 256 + "...", "ü" * 256 + "...")
    assert len(written) < 5_000


def finished(of: Row, **changes: Any) -> Finished:
    """The record that a row becomes."""
    tokens = of.usage.tokens
    record = Finished(
        received_at=round(of.received_at * 1e6),
        id=of.id,
        upstream_request_id=of.upstream_request_id,
        endpoint=of.endpoint,
        stream=of.stream,
        duration=round(of.duration * 1e6),
        caller=of.caller,
        caller_group=of.group,
        requested_model=of.requested_model,
        model=of.model,
        target=of.target,
        upstream_model=of.upstream_model,
        credential=of.credential,
        attempts=json.dumps(as_json(of)["attempts"]) if len(of.attempts) > 1 else "",
        status=of.status,
        error_code=of.error_code,
        outcome=of.outcome,
        input_tokens=tokens.input,
        output_tokens=tokens.output,
        cached_tokens=tokens.cached_input,
        cache_write_tokens=tokens.cache_write,
        reasoning_tokens=tokens.reasoning,
        input_provenance=of.usage.input_provenance,
        output_provenance=of.usage.output_provenance,
        cost=of.cost,
        credits=of.credits,
        price=of.price,
        configuration=of.configuration,
        first_content=None if of.time_to_first_content is None else round(of.time_to_first_content * 1e6),
        bytes_in=of.bytes_in,
        bytes_out=of.bytes_out,
        upstream_bytes_in=of.upstream_bytes_in,
        upstream_bytes_out=of.upstream_bytes_out,
    )
    return replace(record, **changes)


def spooled(of: Row) -> tuple[int, int, Finished]:
    record = rows().ended(exchange(of, sequence=2**63), ENDED)[1]
    assert record is not None
    ((kind, sequence, payload, end),) = frames(record)
    assert end == len(record)
    return kind, sequence, read_finished(payload)


@pytest.mark.parametrize("of", ROWS.values(), ids=ROWS)
def test_a_record_says_what_the_row_says(of: Row) -> None:
    kind, sequence, record = spooled(of)

    assert (kind, sequence) == (FIN, 2**63)
    if record.attempts:
        record = replace(record, attempts=json.dumps(json.loads(record.attempts)))
    assert record == finished(of)


MOST = 2**53 - 1
FIGURES = {
    "tokens beyond every column": (
        row(usage=Usage(Tokens(2**64, 2**53, 2**70, 1, 0), "provider", "provider")),
        {"input_tokens": MOST, "output_tokens": MOST, "cached_tokens": MOST},
    ),
    "a negative count": (row(bytes_out=-5), {"bytes_out": 0}),
    "a cost beyond every column": (row(cost=2**64 - 1, credits=2**63), {"cost": 2**63 - 1, "credits": 2**63 - 1}),
    "text of a megabyte": (row(requested_model="\N{SNOWMAN}" * 2**20), {"requested_model": "\N{SNOWMAN}" * 256}),
    "a lone surrogate": (
        row(requested_model="\ud800\0\n\x1b[2J"),
        {"requested_model": mended("\ud800") + "\0\n\x1b[2J"},
    ),
}


@pytest.mark.parametrize(("of", "cut"), FIGURES.values(), ids=FIGURES)
def test_what_others_sent_cannot_break_a_record(of: Row, cut: dict[str, Any]) -> None:
    assert spooled(of)[2] == finished(of, **cut)


def test_of_many_attempts_those_are_kept_that_cost_something() -> None:
    attempts = [Attempt(f"t{number}/m", "upstream_timeout", 504, decisive=False) for number in range(100)]
    attempts[7] = replace(attempts[7], usage=USAGE, upstream_request_id="up_7", price="p7", cost=7)
    attempts[99] = replace(attempts[99], usage=USAGE, decisive=True)

    (kept,) = json.loads(spooled(row(attempts=tuple(attempts)))[2].attempts)
    assert ("t7/m", "up_7", "p7", 7) == tuple(kept[name] for name in ("target", "upstream_request_id", "price", "cost"))
    assert kept["usage"]["tokens"] == msgspec.to_builtins(USAGE.tokens)


def test_hundreds_of_attempts_are_told_in_short() -> None:
    attempts = [Attempt(f"t{number}/m", "upstream_timeout", 504, USAGE, decisive=False) for number in range(200)]

    kept = json.loads(spooled(row(attempts=tuple(attempts)))[2].attempts)
    assert kept == [[f"t{number}/m", "upstream_timeout"] for number in range(64)]


def test_an_admission_says_who_asks_for_what() -> None:
    asked = row(requested_model="m" * 1000)

    ((kind, sequence, payload, _),) = frames(rows().admitted(exchange(asked), 7))
    assert (kind, sequence) == (ADM, 7)
    assert read_admitted(payload) == Admitted(
        round(asked.received_at * 1e6), "req_1", "chat_completions", True, "dev", "", "m" * 256, "fast", "1"
    )


def test_only_what_was_admitted_leaves_a_record() -> None:
    assert rows().ended(exchange(STREAMED), ENDED)[1] is None


def columns(sequence: int, record: Finished) -> tuple[Any, ...]:
    return ("spool", sequence, *(getattr(record, name) for name in COLUMNS[2:]))


def test_a_spool_is_read_as_it_was_written() -> None:
    other = replace(FINISHED, cost=None, first_content=None, input_tokens=MOST, attempts="[" + "x" * 16_000 + "]")
    data = b"".join([frame(7, ADMITTED), frame(2**63 - 1, FINISHED), frame(8, other)])

    read = _native.Ends(data, "spool")
    assert read.rows() == [columns(2**63 - 1, FINISHED), columns(8, other)]
    assert {number: read_admitted(record) for number, record in read.admitted.items()} == {7: ADMITTED}
    assert (len(read), read.damaged, read.end, read.unbelievable) == (2, 0, len(data), False)
    assert read.among([7, 8, 2**63 - 1]) == [8, 2**63 - 1]


def test_fields_of_a_newer_version_are_passed_over() -> None:
    packed = msgspec.msgpack.encode([*msgspec.structs.astuple(FINISHED), {"new": 1}, "more"])
    data = framed(FIN, 1, packed)

    assert _native.Ends(data, "spool").rows() == [columns(1, FINISHED)]


def test_an_admission_that_has_ended_is_none_any_more() -> None:
    data = b"".join([frame(1, ADMITTED), frame(2, ADMITTED), frame(1, FINISHED)])

    assert list(_native.Ends(data, "spool").admitted) == [2]


WRONG = {
    "fewer fields": msgspec.msgpack.encode(msgspec.structs.astuple(FINISHED)[:-1]),
    "a text for a number": msgspec.msgpack.encode(["now", *msgspec.structs.astuple(FINISHED)[1:]]),
    "a number for a text": msgspec.msgpack.encode([1, 2, *msgspec.structs.astuple(FINISHED)[2:]]),
    "a negative count": msgspec.msgpack.encode([-1, *msgspec.structs.astuple(FINISHED)[1:]]),
    "no array": b"\xc0",
    "nothing": b"",
    "text that is none": msgspec.msgpack.encode(FINISHED).replace(b"req_1", b"\xff\xff\xff\xff\xff"),
    "text beyond its end": b"\xdc\x00\x21\x01\xdb\xff\xff\xff\xff",
}


@pytest.mark.parametrize("packed", WRONG.values(), ids=WRONG)
def test_records_that_cannot_be_read_are_counted(packed: bytes) -> None:
    data = framed(FIN, 1, packed) + frame(2, FINISHED)

    read = _native.Ends(data, "spool")
    assert read.rows() == [columns(2, FINISHED)]
    assert (read.admitted, read.damaged, read.end, read.unbelievable) == ({}, 1, len(data), False)


def test_a_request_that_nobody_saw_end_is_unknown() -> None:
    records = [(5, msgspec.msgpack.encode(ADMITTED)), (6, b"junk")]

    [values] = _native.Ends.unseen(records, "spool").rows()
    assert values[:2] == ("spool", 5)
    named = dict(zip(COLUMNS[2:], values[2:], strict=True))
    same = {name: named.pop(name) for name in Admitted.__struct_fields__}
    assert same == msgspec.structs.asdict(ADMITTED)
    assert named.pop("outcome") == "unknown"
    assert {named.pop("input_provenance"), named.pop("output_provenance")} == {"none"}
    assert [name for name, value in named.items() if value is None] == ["cost", "credits", "first_content"]
    assert {value for value in named.values() if value is not None} == {"", 0}
