"""Faults 1-17, 19, 20, 23-29, 33, 34: what clients do to HTTP/1.1. Each number as in the list of faults.

Whatever is refused is refused once, in the dialect's shape, without a word of what was sent, with no call to an
upstream, and the next request works. 26 is overruled: a client that half-closes has left, as with nginx.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.kit.client import Answer, Wire, chat, request_bytes
from tests.kit.gateway import KEY, eventually
from tests.kit.scene import Scene
from tests.kit.words import ANSWER

from sluicegate.demo.scripts import json_answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS: dict[str, Any] = {"timeouts": {"header": 3, "body": 1}, "limits": {"body": "1MiB", "head": "32KiB"}}

MARK = "sk-SECRET"
MIB = 1 << 20
SMALL = b'{"model":"plain/never","messages":[]}'
LENGTH = f"Content-Length: {len(SMALL)}"
CHUNKED = "Transfer-Encoding: chunked"
WHOLE = b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMALL), SMALL)
#: A second request, which must not be served where the first was refused.
SMUGGLED = request_bytes(SMALL, key=KEY)


def post(
    *lines: str | bytes, body: bytes = SMALL, target: str = "/v1/chat/completions", host: str = "Host: gw"
) -> bytes:
    """A request with these header lines beside the usual; nothing is added that frames the body."""
    usual = [f"Authorization: Bearer {KEY}", "Content-Type: application/json", f"X-Mark: {MARK}"]
    every = [f"POST {target} HTTP/1.1", *([host] if host else []), *usual, *lines]
    return b"\r\n".join(line if isinstance(line, bytes) else line.encode() for line in every) + b"\r\n\r\n" + body


async def refused(scene: Scene, sent: bytes, status: int, code: str, then: bytes = b"") -> Answer:
    """One error, the connection's end, and nothing else anywhere. ``then`` is sent after ``100 Continue``."""
    before, log = len(scene.upstream.requests), len(scene.gateway.log)
    async with Wire(scene.gateway.url) as wire:
        await wire.send(sent)
        if then:
            assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            await wire.send(then)
        answer = await wire.answer()
        assert (answer.status, answer.error["code"]) == (status, code)
        assert await wire.closed_by_server() == b""
    is_ours(answer)
    assert len(scene.upstream.requests) == before
    said = scene.gateway.log[log:]
    assert (MARK in said, "Traceback" in said) == (False, False), said
    await scene.serves()
    return answer


def is_ours(answer: Answer) -> None:
    """An answer of the gateway's own making: JSON in OpenAI's shape, signed, without a word of the request."""
    assert answer.header("content-type") == "application/json"
    assert answer.header("server") == "sluicegate"
    assert answer.id.startswith("req_")
    assert set(answer.error) == {"message", "type", "param", "code"}
    assert MARK.encode() not in answer.body
    assert all(MARK not in value for _, value in answer.headers)


async def accepted(scene: Scene, sent: bytes) -> Answer:
    """A plain request for `model` that reaches the upstream and comes back whole."""
    async with Wire(scene.gateway.url) as wire:
        await wire.send(sent)
        answer = await wire.answer()
    assert (answer.status, answer.body) == (200, ANSWER)
    return answer


def body_for(scene: Scene) -> bytes:
    """A body whose request the upstream answers with ANSWER."""
    return json.dumps(chat(scene.model(json_answer(ANSWER)))).encode()


UNREADABLE: dict[str, bytes] = {
    "1: length and chunks": post(LENGTH, CHUNKED, body=WHOLE + SMUGGLED),
    "1: length 4 and chunks": post("Content-Length: 4", CHUNKED, body=WHOLE + SMUGGLED),
    "2: chunks and a length that is too long": post(CHUNKED, "Content-Length: 60", body=b"0\r\n\r\n" + SMUGGLED),
    "3: two lengths": post(LENGTH, "Content-Length: 5", body=SMALL + SMUGGLED),
    "3: the same length twice": post(LENGTH, LENGTH, body=SMALL + SMUGGLED),
    "3: a list of lengths": post("Content-Length: 5, 6"),
    "3: a list of one length": post("Content-Length: 5, 5"),
    "4: +5": post("Content-Length: +5"),
    "4: -1": post("Content-Length: -1"),
    "4: 0x5": post("Content-Length: 0x5"),
    "4: 1_0": post("Content-Length: 1_0"),
    "4: five in Arabic": post("Content-Length: \N{ARABIC-INDIC DIGIT FIVE}"),
    "4: empty": post("Content-Length: "),
    "4: 2^64": post("Content-Length: 18446744073709551617"),
    "5: xchunked": post("Transfer-Encoding: xchunked", body=WHOLE),
    "5: chunked, identity": post("Transfer-Encoding: chunked, identity", body=WHOLE),
    "5: chunked, chunked": post("Transfer-Encoding: chunked, chunked", body=WHOLE),
    "5: chunked twice": post(CHUNKED, CHUNKED, body=WHOLE),
    "5: identity": post("Transfer-Encoding: identity", LENGTH),
    "6: a folded line": post("X-A: a", " b", LENGTH),
    "7: LF alone": post(LENGTH, body=b"").replace(b"\r\n", b"\n") + SMALL,
    "7: CR alone": post(LENGTH, body=b"").replace(b"\r\n", b"\r") + SMALL + b"\r\n\r\n",
    "7: one LF alone": post(LENGTH).replace(b"gw\r\n", b"gw\n"),
    "8: a space before the colon": post(f"Content-Length : {len(SMALL)}"),
    "8: a space before the first name": post(LENGTH, host=" Host: gw"),
    "8: a chunked that hides": post(LENGTH, "Transfer-Encoding : chunked"),
    "9: NUL in a value": post(LENGTH, b"X-A: a\x00b"),
    "9: CR in a value": post(LENGTH, b"X-A: a\rb"),
    "9: SOH in a key": post(LENGTH, b"X-Key: Bearer " + MARK.encode() + b"\x01x"),
    "9: SOH in a name": post(LENGTH, b"X\x01A: b"),
    "9: a name in quotes": post(LENGTH, b'"X": b'),
    "10: 0x5": post(CHUNKED, body=b"0x5\r\nhello\r\n0\r\n\r\n"),
    "10: a space after": post(CHUNKED, body=b"5 \r\nhello\r\n0\r\n\r\n"),
    "10: seventeen digits": post(CHUNKED, body=b"00000000000000005\r\nhello\r\n0\r\n\r\n".replace(b"00", b"FF", 8)),
    "10: negative": post(CHUNKED, body=b"-5\r\nhello\r\n0\r\n\r\n"),
    "10: LF after the size": post(CHUNKED, body=b"5\nhello\r\n0\r\n\r\n"),
    "10: more than the size": post(CHUNKED, body=b"5\r\nhello!\r\n0\r\n\r\n"),
    "11: LF in an extension": post(CHUNKED, body=b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
    "13: a length as a trailer": post(CHUNKED, body=WHOLE[:-2] + b"Content-Length: 7\r\n\r\n" + SMUGGLED),
    "15: no host": post(LENGTH, host=""),
    "15: two hosts": post(LENGTH, "Host: other"),
    "24: a later HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "24: HTTP/1.2": post(LENGTH).replace(b"HTTP/1.1", b"HTTP/1.2"),
    "24: TLS on a plain port": b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + bytes(160),
    "24: not HTTP at all": b"EHLO gateway\r\n\r\n",
}


@pytest.mark.parametrize("sent", UNREADABLE.values(), ids=UNREADABLE)
async def test_01_to_15_what_two_readers_could_read_differently_is_refused(scene: Scene, sent: bytes) -> None:
    await refused(scene, sent, 400, "invalid_http")


REFUSED: dict[str, tuple[bytes, int, str]] = {
    "5: gzip, chunked": (post("Transfer-Encoding: gzip, chunked", body=WHOLE), 400, "unsupported_transfer_encoding"),
    "5: chunked in HTTP/1.0": (
        post(CHUNKED, body=WHOLE).replace(b"HTTP/1.1", b"HTTP/1.0"),
        400,
        "unsupported_transfer_encoding",
    ),
    "9: two credentials": (post(LENGTH, "Authorization: Bearer other"), 400, "duplicate_header"),
    "14: a line of 1 MB": (post(LENGTH, "X-A: " + "a" * MIB), 431, "headers_too_large"),
    "14: a path of 100 kB": (post(LENGTH, target="/v1/" + "a" * 100_000), 431, "headers_too_large"),
    "14: 10,000 lines": (post(LENGTH, *(f"X-{n}: a" for n in range(10_000))), 431, "headers_too_large"),
    "14: 50 kB in 100 lines": (post(LENGTH, *(f"X-{n}: {'a' * 500}" for n in range(100))), 431, "headers_too_large"),
    "15: a host with a path": (post(LENGTH, host="Host: gw/#@evil"), 400, "invalid_host"),
    "15: a host with a user": (post(LENGTH, host="Host: user@gw"), 400, "invalid_host"),
    "15: an empty host": (post(LENGTH, host="Host:"), 400, "invalid_host"),
    "20: another expectation": (post(LENGTH, "Expect: a-pony"), 417, "expectation_failed"),
    "24: HTTP/0.9": (b"GET /v1/models\r\n\r\n", 505, "unsupported_http_version"),
    "24: HTTP/2.0 in words": (post(LENGTH).replace(b"HTTP/1.1", b"HTTP/2.0"), 505, "unsupported_http_version"),
}


@pytest.mark.parametrize(("sent", "status", "code"), REFUSED.values(), ids=REFUSED)
async def test_05_to_24_what_the_parser_lets_pass_is_refused_by_us(
    scene: Scene, sent: bytes, status: int, code: str
) -> None:
    await refused(scene, sent, status, code)


@pytest.mark.parametrize("first", [20_000, 25_000, 30_000])
async def test_14_a_head_in_two_reads_is_measured_whole(scene: Scene, first: int) -> None:
    sent = REFUSED["14: 50 kB in 100 lines"][0]
    async with Wire(scene.gateway.url) as wire:
        await wire.send(sent[:first])
        await asyncio.sleep(0.05)  # so that it is read alone; the answer is the same if it is not
        await wire.send(sent[first:])
        answer = await wire.answer()
    assert (answer.status, answer.error["code"]) == (431, "headers_too_large")


CONTINUED = post("Expect: 100-continue", CHUNKED, body=b"")
BROKEN_LATER: dict[str, bytes] = {
    "10: a size that is none": b"zz\r\nhello\r\n0\r\n\r\n",
    "10: seventeen digits": b"FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
    "11: an extension of 1 MB": b"5;" + b"a" * MIB + b"\r\nhello\r\n0\r\n\r\n",
    "13: trailers of 1 MB": b"5\r\nhello\r\n0\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(100_000)) + b"\r\n",
}


@pytest.mark.parametrize("then", BROKEN_LATER.values(), ids=BROKEN_LATER)
async def test_10_to_13_a_body_that_breaks_on_the_way_is_refused_at_once(scene: Scene, then: bytes) -> None:
    await refused(scene, CONTINUED, 400, "invalid_body_framing", then)


async def test_10_an_announced_size_is_not_allocated(scene: Scene) -> None:
    before = scene.gateway.rss
    await refused(scene, CONTINUED, 408, "request_timeout", b"FFFFFFFFFFFFFFF\r\n{")
    assert scene.gateway.rss - before < 8 * MIB


@pytest.mark.parametrize("leave", [Wire.close, Wire.reset], ids=["FIN", "RST"])
@pytest.mark.parametrize(
    "unfinished",
    [post(CHUNKED, body=WHOLE[:-5]), post(f"Content-Length: {len(SMALL) + 1}"), post(LENGTH, body=b"")[:-9]],
    ids=["12: no last chunk", "27: a byte is missing", "27: half a head"],
)
async def test_12_27_a_client_that_leaves_inside_its_request_has_asked_nothing(
    scene: Scene, unfinished: bytes, leave: Any
) -> None:
    before, log = len(scene.upstream.requests), scene.gateway.log
    async with Wire(scene.gateway.url) as wire:
        await wire.send(unfinished)
        await settled(wire)
        leave(wire)
    await scene.serves()
    assert len(scene.upstream.requests) == before + 1
    new = [json.loads(line) for line in scene.gateway.log.removeprefix(log).splitlines()]
    assert [row["error_code"] for row in new if row["error_code"] not in ("", "client_disconnected")] == []


async def settled(wire: Wire) -> None:
    """The kernel has handed everything over: nothing of ours is unacknowledged."""
    info = wire.writer.get_extra_info("socket")

    async def acknowledged() -> bool:
        return int.from_bytes(info.getsockopt(6, 11, 104)[24:28], "little") == 0  # TCP_INFO.tcpi_unacked

    await eventually(acknowledged, "the acknowledgement")


async def test_13_trailers_are_read_and_dropped(scene: Scene) -> None:
    body = body_for(scene)
    trailed = b"%x\r\n%b\r\n0\r\nAuthorization: Bearer other\r\nX-A: b\r\n\r\n" % (len(body), body)
    await accepted(scene, post(CHUNKED, body=trailed))
    assert scene.upstream.requests[-1].header("x-a") is None


async def test_14_a_head_that_drips_is_cut_at_the_limit(scene: Scene) -> None:
    before = scene.gateway.rss
    async with Wire(scene.gateway.url) as wire:
        await wire.send(b"POST /v1/chat/completions HTTP/1.1\r\n")
        for _ in range(5):
            await settled(wire)
            await wire.send(b"X-A: " + b"a" * 7000 + b"\r\n")
        answer = await wire.answer()
        assert (answer.status, answer.error["code"]) == (431, "headers_too_large")
        assert await wire.closed_by_server() == b""
    assert scene.gateway.rss - before < 4 * MIB
    await scene.serves()


UNKNOWN = {
    "absolute form": "http://evil/v1/chat/completions",
    "two slashes": "//v1/chat/completions",
    "dots": "/v1/../v1/chat/completions",
    "escaped dots": "/%2e%2e/v1/chat/completions",
    "an escaped slash": "/v1%2fchat/completions",
    "an escaped letter": "/v1/chat/c%6fmpletions",
    "a parameter": "/v1/chat/completions;x=1",
    "a slash at the end": "/v1/chat/completions/",
    "a fragment": "/v1/chat/completions#x",
    "a backslash": "/v1\\chat/completions",
    "upper case": "/V1/chat/completions",
    "no prefix": "/chat/completions",
    "the root": "/",
}


@pytest.mark.parametrize("target", UNKNOWN.values(), ids=UNKNOWN)
async def test_16_the_path_that_is_authorised_is_the_path_that_is_routed(scene: Scene, target: str) -> None:
    before = len(scene.upstream.requests)
    async with Wire(scene.gateway.url) as wire:
        await wire.send(post(LENGTH, target=target))
        answer = await wire.answer()
    assert (answer.status, answer.error["code"]) == (404, "unknown_path")
    is_ours(answer)
    assert len(scene.upstream.requests) == before
    await scene.serves()


async def test_16_a_query_is_no_part_of_the_path(scene: Scene) -> None:
    body = body_for(scene)
    await accepted(
        scene, post(f"Content-Length: {len(body)}", body=body, target="/v1/chat/completions?beta=true&x=/../")
    )


async def test_17_a_thousand_pipelined_requests_wait_in_the_kernel_and_are_answered_in_order(scene: Scene) -> None:
    before = scene.gateway.rss
    get = "GET /v1/models/{} HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {}\r\n\r\n"
    async with Wire(scene.gateway.url) as wire:
        sending = asyncio.create_task(wire.send("".join(get.format(f"plain/{n}", KEY) for n in range(1000)).encode()))
        names = [(await wire.answer("GET")).json["id"] for _ in range(1000)]
        await sending
    assert names == [f"plain/{n}" for n in range(1000)]
    assert scene.gateway.rss - before < 8 * MIB


async def test_19_a_body_that_drips_is_too_slow_and_nothing_is_dialled(scene: Scene) -> None:
    async def drip() -> None:
        async with Wire(scene.gateway.url) as wire:
            await wire.send(post("Content-Length: 1000", body=b""))
            reading = asyncio.create_task(wire.answer())
            while not reading.done():
                await wire.send(b" ")
                await asyncio.wait([reading], timeout=0.1)
            answer = reading.result()
            assert (answer.status, answer.error["code"]) == (408, "request_timeout")

    before = len(scene.upstream.requests)
    await drip()
    assert len(scene.upstream.requests) == before
    await scene.serves()


async def test_20_who_waits_is_told_to_go_on(scene: Scene) -> None:
    body = body_for(scene)
    async with Wire(scene.gateway.url) as wire:
        await wire.send(post("Expect: 100-continue", f"Content-Length: {len(body)}", body=b""))
        assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await wire.send(body)
        answer = await wire.answer()
    assert (answer.status, answer.body) == (200, ANSWER)


NOT_TOLD: dict[str, tuple[bytes, int, str]] = {
    "too large": (post("Expect: 100-continue", f"Content-Length: {2 * MIB}", body=b""), 413, "request_too_large"),
    "encoded": (
        post("Expect: 100-continue", LENGTH, "Content-Encoding: gzip", body=b""),
        415,
        "unsupported_content_encoding",
    ),
    "no key": (
        post("Expect: 100-continue", LENGTH, body=b"").replace(KEY.encode(), b"sk-unknown-key"),
        401,
        "invalid_api_key",
    ),
    "no such path": (post("Expect: 100-continue", LENGTH, body=b"", target="/v2"), 404, "unknown_path"),
}


@pytest.mark.parametrize(("sent", "status", "code"), NOT_TOLD.values(), ids=NOT_TOLD)
async def test_20_what_can_be_refused_without_the_body_is(scene: Scene, sent: bytes, status: int, code: str) -> None:
    answer = await refused(scene, sent, status, code)
    assert answer.header("content-length") == str(len(answer.body))


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "deflate", "gzip, identity"])
async def test_23_a_compressed_body_is_refused_unread(scene: Scene, encoding: str) -> None:
    async with Wire(scene.gateway.url) as wire:
        await wire.send(post(LENGTH, f"Content-Encoding: {encoding}"))
        answer = await wire.answer()
    assert (answer.status, answer.error["code"]) == (415, "unsupported_content_encoding")
    await scene.serves()
