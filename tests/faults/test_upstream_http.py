"""Faults 59 and 61-68 with one target: what comes back when the upstream does not speak HTTP as it should."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.kit.client import chat
from tests.kit.gateway import eventually
from tests.kit.scene import Scene
from tests.kit.words import ANSWER, DONE, FINISH, GOOD, HELLO

from sluicegate.demo import faults
from sluicegate.demo.scripts import (
    Close,
    Reset,
    Script,
    Send,
    Stall,
    Wait,
    head,
    json_answer,
    raw,
    respond,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS: dict[str, Any] = {
    "timeouts": {"connect": 1, "first_content": 2, "idle": 2, "pool_idle": 30},
    "limits": {"per_upstream": 4, "queue": 3},
}
SWEEPS = "sluicegate_loop_lag_seconds_count"
JSON_HEAD = [("content-type", "application/json"), ("content-length", str(len(ANSWER)))]


async def failed(
    scene: Scene, script: Script, status: int, code: str, *, attempts: int = 1, stream: bool = True
) -> None:
    """The client gets this status and code; the upstream saw so many requests; all observers say the same."""
    answer, seen = await scene.play(script, {"stream": stream})
    assert (answer.status, answer.error["code"]) == (status, code), answer.body
    assert answer.whole
    assert set(answer.error) == {"message", "type", "param", "code"}
    assert "127.0.0.1" not in answer.error["message"]
    assert len(seen.requests) == attempts
    assert (seen.row["status"], seen.row["error_code"], len(seen.row["attempts"])) == (status, code, attempts)
    assert seen.moved.get("sluicegate_requests_total", status=str(status), error_type=code, model="plain/*") == 1
    assert seen.moved.get("sluicegate_streams_active") == 0


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("secure", ["plain", "secure"])
async def test_59_an_end_after_the_head_is_a_502_since_nothing_was_sent(scene: Scene, secure: str, reset: bool) -> None:
    script = raw(faults.STREAM_HEAD, Reset() if reset else Close())
    model = scene.model(script, by=secure)
    answer = await scene.gateway.ask(chat(model, stream=True))
    assert (answer.status, answer.error["code"]) == (502, "upstream_truncated"), answer.body
    assert len(scene.requests(model)) == 1
    await scene.serves()


async def test_61_a_redirect_is_not_followed(scene: Scene) -> None:
    asked = len(scene.secure.connections)
    await failed(scene, faults.redirect(f"{scene.secure.base_url}/chat/completions"), 502, "upstream_redirect")
    await failed(scene, faults.redirect("/v1/other", 301), 502, "upstream_redirect", stream=False)
    assert len(scene.secure.connections) == asked


@pytest.mark.parametrize("statuses", [(100,), (103,), (100, 103, 102)])
async def test_62_interim_answers_are_skipped(scene: Scene, statuses: tuple[int, ...]) -> None:
    answer, _ = await scene.play(faults.interim_first(json_answer(ANSWER), *statuses), {"stream": False})
    assert (answer.status, answer.body, answer.header("link")) == (200, ANSWER, None)
    answer, _ = await scene.play(faults.interim_first(respond(HELLO, FINISH, DONE), *statuses))
    assert (answer.status, answer.body) == (200, HELLO + FINISH + DONE)


async def test_62_an_upgrade_nobody_asked_for_is_a_502(scene: Scene) -> None:
    await failed(
        scene, raw(head(101, [("upgrade", "websocket"), ("connection", "upgrade")]), Stall()), 502, "upstream_protocol"
    )


BROKEN_HEADS = {
    "header bomb": faults.header_bomb(),
    "endless head": faults.endless_head(),
    "NUL in a value": faults.nul_in_header(),
    "CR in the reason": raw(b"HTTP/1.1 200 O\rK\r\ncontent-length: 2\r\n\r\n{}"),
    "no HTTP": raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    "HTTP/2": raw(b"HTTP/2 200\r\ncontent-length: 2\r\n\r\n{}"),
    "status 42": raw(b"HTTP/1.1 42 Odd\r\ncontent-length: 2\r\n\r\n{}"),
    "space before the colon": raw(b"HTTP/1.1 200 OK\r\ncontent-length : 2\r\n\r\n{}"),
    "folded header": raw(b"HTTP/1.1 200 OK\r\nx-a: 1\r\n folded\r\ncontent-length: 2\r\n\r\n{}"),
}


@pytest.mark.parametrize("name", BROKEN_HEADS)
async def test_63_a_broken_head_is_a_502_and_its_connection_dropped(scene: Scene, name: str) -> None:
    before = scene.gateway.rss
    await failed(scene, BROKEN_HEADS[name], 502, "upstream_protocol", stream=False)
    assert scene.gateway.rss - before < 16 << 20
    assert await dropped(scene)


BROKEN_FRAMINGS = {
    "length and chunked": faults.two_framings(ANSWER),
    "two lengths": faults.two_lengths(str(len(ANSWER)), "3", ANSWER),
    "two lengths in one": raw(head(200, [("content-type", "application/json"), ("content-length", "5, 6")]), ANSWER),
    "a signed length": raw(head(200, [("content-type", "application/json"), ("content-length", "+5")]), ANSWER),
    "gzip as a framing": raw(head(200, [("transfer-encoding", "gzip")]), ANSWER),
    "chunked twice": raw(head(200, [("transfer-encoding", "chunked, chunked")]), b"0\r\n\r\n"),
    "a chunk size of letters": faults.bad_chunk_size(b"xyz"),
    "a chunk size of 17 digits": faults.bad_chunk_size(b"11111111111111111"),
    "a negative chunk size": faults.bad_chunk_size(b"-1"),
}


@pytest.mark.parametrize("name", BROKEN_FRAMINGS)
async def test_64_two_framings_or_a_broken_one_are_a_502_and_never_reused(scene: Scene, name: str) -> None:
    await failed(scene, BROKEN_FRAMINGS[name], 502, "upstream_protocol", stream="chunk size" in name)
    assert await dropped(scene)


async def dropped(scene: Scene) -> bool:
    """The connection of the last-but-one request (the one before `serves`) was closed by the gateway."""
    request = scene.upstream.requests[-2]
    opened = scene.upstream.connections[request.connection - 1]
    async with asyncio.timeout(1):
        await opened.closed.wait()
    return opened.closed_by_peer and opened.requests == request.ordinal


async def test_65_half_a_body_is_never_a_clean_200(scene: Scene) -> None:
    await failed(scene, faults.short_body(ANSWER[:50], 100), 502, "upstream_truncated", stream=False)
    chunked = raw(
        head(200, [("content-type", "application/json"), ("transfer-encoding", "chunked")]),
        b"32\r\n",
        ANSWER[:50],
        Close(),
    )
    await failed(scene, chunked, 502, "upstream_truncated", stream=False)


async def test_65_a_body_longer_than_it_said_ends_where_it_said_and_soils_the_connection(scene: Scene) -> None:
    answer, _ = await scene.play(faults.long_body(ANSWER + b"HTTP/1.1 200 OK\r\n\r\n", len(ANSWER)), {"stream": False})
    assert (answer.status, answer.body) == (200, ANSWER)
    assert await dropped(scene)


async def test_66_a_body_that_ends_with_its_connection_is_whole(scene: Scene) -> None:
    old = raw(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n", ANSWER, Close())
    answer, seen = await scene.play(old, {"stream": False})
    assert (answer.status, answer.body, seen.row["outcome"]) == (200, ANSWER, "completed")


async def test_66_but_a_stream_that_had_not_finished_is_told_as_cut(scene: Scene) -> None:
    answer, seen = await scene.play(respond(HELLO, framing="close"))
    assert (answer.status, answer.events[0] + b"\n\n") == (200, HELLO)
    assert (answer.last_error["code"], seen.row["error_code"]) == ("upstream_truncated", "upstream_truncated")
    answer, seen = await scene.play(respond(HELLO, FINISH, DONE, framing="close"))
    assert (answer.body, seen.row["error_code"]) == (HELLO + FINISH + DONE, "")


async def test_67_an_idle_connections_age_does_not_poison_the_next_request(scene: Scene) -> None:
    model = scene.model(json_answer(ANSWER))
    assert (await scene.gateway.ask(chat(model))).status == 200
    swept = (await scene.gateway.metrics()).get(SWEEPS)

    async def older_than_any_time_out() -> bool:
        return (await scene.gateway.metrics()).get(SWEEPS) >= swept + 4

    # One sweep a second, and first_content and idle are 2: it has passed over the pooled connection more than once.
    await eventually(older_than_any_time_out, "four sweeps", within=20)
    assert (await scene.gateway.ask(chat(model))).status == 200
    first, second = scene.requests(model)
    assert first.connection == second.connection
    assert scene.upstream.connections[first.connection - 1].closed_at is None


async def test_67_bytes_or_an_end_on_an_idle_connection_drop_it(scene: Scene) -> None:
    for last in (Send(b"HTTP/1.1 408 Request Timeout\r\n\r\n"), Close()):
        said = asyncio.Event()
        model = scene.model(json_answer(ANSWER).then(Wait(said), last), json_answer(ANSWER))
        assert (await scene.gateway.ask(chat(model))).status == 200
        said.set()
        opened = scene.upstream.connections[scene.requests(model)[0].connection - 1]
        async with asyncio.timeout(1):
            await opened.closed.wait()
        answer = await scene.gateway.ask(chat(model))
        assert (answer.status, answer.body) == (200, ANSWER)
        assert scene.requests(model)[0].connection != scene.requests(model)[1].connection


async def test_68_of_the_upstreams_headers_only_what_is_the_clients_business_arrives(scene: Scene) -> None:
    private = [
        ("set-cookie", "__cf_bm=1"),
        ("server", "cloudflare"),
        ("alt-svc", 'h3=":443"'),
        ("via", "1.1 google"),
        ("cf-ray", "1"),
        ("openai-organization", "org-secret"),
        ("openai-project", "proj_1"),
        ("x-ratelimit-remaining-requests", "9"),
        ("x-request-id", "req_upstream"),
        ("access-control-allow-origin", "*"),
    ]
    answer, seen = await scene.play(json_answer(ANSWER, headers=private), {"stream": False})
    assert answer.status == 200
    names = {name.lower() for name, _ in answer.headers}
    assert names & {name for name, _ in private} <= {"server", "x-request-id"}
    assert "cloudflare" not in (answer.header("server") or "")
    assert answer.id != "req_upstream"
    assert seen.row["upstream_request_id"] == "req_upstream"
    streamed, _ = await scene.play(respond(*GOOD, headers=private))
    assert {name.lower() for name, _ in streamed.headers} & {name for name, _ in private} <= {"server", "x-request-id"}
