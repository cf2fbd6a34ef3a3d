"""Faults 51-60 with one target: what comes back when there is no connection, or none that answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
import datetime as dt
from pathlib import Path
import ssl
from typing import Any

import pytest
from tests.kit.client import chat
from tests.kit.gateway import Gateway, configuration, eventually
from tests.kit.pairs import silent_port
from tests.kit.scene import Scene
from tests.kit.words import ANSWER
import trustme

from sluicegate.demo import faults
from sluicegate.demo.scripts import (
    Reset,
    Script,
    Wait,
    json_answer,
    raw,
)
from sluicegate.demo.upstream import Upstream

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS: dict[str, Any] = {
    "timeouts": {"connect": 1, "first_content": 2, "idle": 2, "pool_idle": 30},
    "limits": {"per_upstream": 4, "queue": 3},
}
JSON_HEAD = [("content-type", "application/json"), ("content-length", str(len(ANSWER)))]


@asynccontextmanager
async def gateway_before(base_url: str, folder: Path, **settings: Any) -> AsyncIterator[Gateway]:
    """A gateway of its own in front of one address; `m` leads there, `ok/*` to a scripted upstream that works."""
    async with Upstream() as good:
        upstreams = {"odd": {"dialect": "openai", "base_url": base_url} | settings.pop("odd", {})}
        upstreams["good"] = {"dialect": "openai", "base_url": good.base_url}
        models = {"m": {"targets": [{"upstream": "odd", "model": "m"}]}}
        models["ok/*"] = {"targets": [{"upstream": "good", "model": "*"}]}
        gateway = Gateway(configuration(upstreams, models, **{"timeouts": {"connect": 1}, **settings}), folder)
        try:
            await gateway.start()
            yield gateway
            await gateway.stop()
        finally:
            gateway.kill()


async def unreachable(gateway: Gateway, status: int, code: str) -> None:
    """Asking for `m` fails so, says so everywhere, and disturbs nobody else."""
    before = await gateway.metrics()
    answer = await gateway.ask(chat("m", stream=True))
    assert (answer.status, answer.error["code"]) == (status, code), answer.body
    row = await gateway.row(id=answer.id)
    assert (row["status"], row["error_code"], row["upstream_bytes_out"]) == (status, code, 0)
    moved = await gateway.metrics() - before
    assert moved.get("sluicegate_requests_total", status=str(status), error_type=code, model="m") == 1
    assert (await gateway.ask(chat("ok/x"))).status == 200


async def test_51_a_name_that_does_not_exist_is_a_502(tmp_path: Path) -> None:
    async with gateway_before("http://no-such-host.invalid/v1", tmp_path) as gateway:
        await unreachable(gateway, 502, "upstream_name_not_found")


async def test_54_a_refused_connect_is_a_502_at_once(tmp_path: Path) -> None:
    async with Upstream() as upstream, gateway_before(upstream.base_url, tmp_path) as gateway:
        await upstream.refuse()
        await unreachable(gateway, 502, "upstream_refused")
        await upstream.listen()
        assert (await gateway.ask(chat("m"))).status == 200


async def test_55_a_connect_without_an_answer_ends_at_the_connect_timeout(tmp_path: Path) -> None:
    with silent_port() as port:
        async with gateway_before(f"http://127.0.0.1:{port}/v1", tmp_path) as gateway:
            stuck = asyncio.create_task(gateway.ask(chat("m")))
            await asyncio.sleep(0)
            assert (await gateway.ask(chat("ok/x"))).status == 200
            assert not stuck.done()
            assert (await stuck).error["code"] == "upstream_connect_timeout"
            await unreachable(gateway, 504, "upstream_connect_timeout")


def certificate(authority: trustme.CA, *names: str, expired: bool = False) -> ssl.SSLContext:
    """A server's context with a certificate of this authority."""
    long_ago = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    issued = authority.issue_cert(*names, not_after=long_ago if expired else None)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(context)
    return context


@pytest.mark.parametrize("fault", ["expired", "wrong name", "unknown authority", "no authority"])
async def test_56_a_certificate_that_does_not_hold_is_a_502(fault: str, tmp_path: Path) -> None:
    trusted = trustme.CA()
    ca_file = tmp_path / "ca.pem"
    trusted.cert_pem.write_to_path(str(ca_file))
    signer = trustme.CA() if fault == "unknown authority" else trusted
    name = "elsewhere.example" if fault == "wrong name" else "localhost"
    context = certificate(signer, name, expired=fault == "expired")
    odd = {} if fault == "no authority" else {"ca_file": str(ca_file)}
    async with Upstream(tls=context) as upstream:
        url = f"https://localhost:{upstream.port}/v1"
        async with gateway_before(url, tmp_path, odd=odd) as gateway:
            before = await gateway.metrics()
            answer = await gateway.ask(chat("m", stream=True))
            assert (answer.status, answer.error["code"]) == (502, "upstream_tls"), answer.body
            assert upstream.requests == []
            assert (await gateway.row(id=answer.id))["error_code"] == "upstream_tls"
            assert (await gateway.metrics() - before).get("sluicegate_requests_total", error_type="upstream_tls") == 1
            assert (await gateway.ask(chat("ok/x"))).status == 200


HANDSHAKES: dict[str, tuple[bytes | None, int, str]] = {
    "ended": (b"", 502, "upstream_tls"),
    "answered with an alert": (b"\x15\x03\x03\x00\x02\x02\x28", 502, "upstream_tls"),
    "answered in HTTP": (b"HTTP/1.1 400 Bad Request\r\n\r\n", 502, "upstream_tls"),
    "never answered": (None, 504, "upstream_connect_timeout"),
}


@pytest.mark.parametrize("name", HANDSHAKES)
async def test_56_a_handshake_that_fails_is_told(name: str, tmp_path: Path) -> None:
    said, status, code = HANDSHAKES[name]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        if said is None:
            await reader.read()
        else:
            writer.write(said)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, gateway_before(f"https://localhost:{port}/v1", tmp_path) as gateway:
        await unreachable(gateway, status, code)


async def test_56_a_handshake_that_is_reset_is_told(tmp_path: Path) -> None:
    async with Upstream() as upstream:
        upstream.greet(raw(Reset()))
        async with gateway_before(f"https://localhost:{upstream.port}/v1", tmp_path) as gateway:
            answer = await gateway.ask(chat("m", stream=True))
            assert (answer.status, answer.error["code"] in ("upstream_tls", "upstream_unreachable")) == (502, True)


async def test_57_a_pooled_connection_that_dies_without_a_byte_is_replaced_once(scene: Scene) -> None:
    model = scene.model(faults.closes_on_next_request(json_answer(ANSWER)), json_answer(ANSWER))
    first = await scene.gateway.ask(chat(model))
    doomed = scene.requests(model)[0].connection
    before = await scene.gateway.metrics()
    second = await scene.gateway.ask(chat(model))
    assert (first.status, second.status, second.body) == (200, 200, ANSWER)
    # The doomed connection took the second request and answered nothing; it was executed once, elsewhere.
    assert [request.connection == doomed for request in scene.requests(model)] == [True, False]
    assert scene.upstream.connections[doomed - 1].bytes_read > len(scene.requests(model)[0].head.raw) * 2
    row = await scene.gateway.row(id=second.id)
    assert (row["status"], row["error_code"], len(row["attempts"])) == (200, "", 1)
    moved = await scene.gateway.metrics() - before
    assert moved.get("sluicegate_requests_total", model="plain/*") == 1


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("fault", [faults.closes_before_head(), faults.resets_before_head()], ids=["FIN", "RST"])
async def test_58_a_fresh_connection_that_dies_is_not_tried_again(tmp_path: Path, fault: Script, stream: bool) -> None:
    async with Upstream() as upstream, gateway_before(upstream.base_url, tmp_path) as gateway:
        upstream.next(fault)
        answer = await gateway.ask(chat("m", stream=stream))
        assert (answer.status, answer.error["code"]) == (502, "upstream_lost"), answer.body
        row = await gateway.row(id=answer.id)
        assert (len(upstream.requests), len(row["attempts"]), row["error_code"]) == (1, 1, "upstream_lost")
        assert (row["usage"]["input_provenance"], row["usage"]["output_provenance"]) == ("none", "none")
        assert (await gateway.ask(chat("m"))).status == 200


async def test_60_the_pool_has_a_queue_and_the_queue_an_end(scene: Scene) -> None:
    release = asyncio.Event()
    held = Script((Wait(release), *json_answer(ANSWER).steps))
    models = [scene.model(held) for _ in range(7)]
    asked = [asyncio.create_task(scene.gateway.ask(chat(model))) for model in models]
    overflow = scene.model(held)
    await eventually(lambda: full(scene, models), "four requests at the upstream")

    answer = await scene.gateway.ask(chat(overflow))
    assert (answer.status, answer.error["code"]) == (503, "upstream_queue_full"), answer.body
    assert float(answer.header("retry-after") or "") > 0
    assert sum(len(scene.requests(model)) for model in models) == 4
    assert (await scene.gateway.row(id=answer.id))["error_code"] == "upstream_queue_full"

    # A waiter that leaves frees its place.
    waiting = next(model for model in models if not scene.requests(model))
    asked[models.index(waiting)].cancel()
    row = await scene.gateway.row(requested_model=waiting)
    assert (row["left"], row["status"]) == ("before_head", 499)
    late = asyncio.create_task(scene.gateway.ask(chat(overflow)))
    release.set()
    rest = [task for task in asked if not task.cancelled() and task is not asked[models.index(waiting)]]
    answers = await asyncio.gather(*rest, late)
    assert [answer.status for answer in answers] == [200] * 7
    assert scene.requests(waiting) == []
    await scene.serves()


async def full(scene: Scene, models: list[str]) -> bool:
    """Whether four of these requests are at the upstream and the other three in the gateway."""
    metrics = await scene.gateway.metrics()
    there = sum(len(scene.requests(model)) for model in models)
    return there == 4 and metrics.get("sluicegate_upstream_connections", upstream="plain", state="active") == 4
