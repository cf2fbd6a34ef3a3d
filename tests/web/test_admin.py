"""The admin address: health under every name, metrics, rows, and who may ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.kit.client import Answer, ask, request_bytes
from tests.kit.scene import Scene
from tests.kit.scene import scene as a_scene

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOKEN = "the-admin-token"
HEALTH = [
    "/livez",
    "/readyz",
    "/health",
    "/healthz",
    "/health/live",
    "/health/liveness",
    "/health/liveliness",
    "/health/ready",
    "/health/readiness",
]
PRIVATE = ["/metrics", "/admin/requests", "/admin/targets", "/admin/keys"]


async def get(scene: Scene, path: str, *headers: tuple[str, str], method: str = "GET") -> Answer:
    return await ask(scene.gateway.admin, request_bytes(None, path=path, method=method, headers=headers))


def from_host(host: str, path: str = "/metrics") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


@pytest.mark.parametrize("path", HEALTH)
async def test_health_has_the_names_that_probes_know(scene: Scene, path: str) -> None:
    answer = await ask(scene.gateway.admin, from_host("10.0.0.7:9090", path))
    assert (answer.status, answer.body) == (200, b"ok\n")


async def test_metrics_are_prometheus_text(scene: Scene) -> None:
    answer = await ask(scene.gateway.admin, from_host("localhost"))
    assert (answer.status, answer.header("content-type")) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b"sluicegate_build_info{" in answer.body


async def test_rows_are_json_the_newest_first(scene: Scene) -> None:
    await scene.serves()
    await scene.serves()
    answer = await get(scene, "/admin/requests")
    assert (answer.status, answer.header("content-type"), answer.json["object"]) == (200, "application/json", "list")
    received = [row["received_at"] for row in answer.json["data"]]
    assert received == sorted(received, reverse=True)
    assert len(received) >= 2


WRONG = {
    "no such path": ("GET", "/admin", 404, "unknown_path"),
    "a slash at the end": ("GET", "/metrics/", 404, "unknown_path"),
    "the clients' path": ("GET", "/v1/models", 404, "unknown_path"),
    "another method": ("POST", "/metrics", 405, "method_not_allowed"),
    "another method on health": ("DELETE", "/livez", 405, "method_not_allowed"),
}


@pytest.mark.parametrize(("method", "path", "status", "code"), WRONG.values(), ids=WRONG)
async def test_errors_are_json(scene: Scene, method: str, path: str, status: int, code: str) -> None:
    answer = await get(scene, path, method=method)
    assert (answer.status, answer.error["code"], answer.header("content-type")) == (status, code, "application/json")


LOCAL = ["localhost", "localhost:9090", "127.0.0.1:9090", "127.9.9.9", "[::1]:9090"]
FOREIGN = [
    "evil.example",
    "evil.example:9090",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "10.0.0.7",
    "0.0.0.0",
]


@pytest.mark.parametrize("path", PRIVATE)
@pytest.mark.parametrize("host", LOCAL)
async def test_without_a_token_a_loopback_name_is_served(scene: Scene, host: str, path: str) -> None:
    assert (await ask(scene.gateway.admin, from_host(host, path))).status == 200


@pytest.mark.parametrize("path", PRIVATE)
@pytest.mark.parametrize("host", FOREIGN)
async def test_without_a_token_no_other_name_is(scene: Scene, host: str, path: str) -> None:
    answer = await ask(scene.gateway.admin, from_host(host, path))
    assert (answer.status, answer.error["code"]) == (400, "invalid_host")


@pytest.mark.parametrize("path", PRIVATE)
async def test_without_a_token_no_web_page_is(scene: Scene, path: str) -> None:
    sent = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\r\n".encode()
    answer = await ask(scene.gateway.admin, sent)
    assert (answer.status, answer.error["code"]) == (403, "origin_not_allowed")


GIVEN: dict[str, tuple[list[tuple[str, str]], int, str | None]] = {
    "it": ([("Authorization", f"Bearer {TOKEN}")], 200, None),
    "it, another spelling": ([("Authorization", f"bearer {TOKEN}")], 200, None),
    "none": ([], 401, "missing_admin_token"),
    "another": ([("Authorization", "Bearer other")], 401, "invalid_admin_token"),
    "a part of it": ([("Authorization", f"Bearer {TOKEN[:-1]}")], 401, "invalid_admin_token"),
    "another scheme": ([("Authorization", f"Basic {TOKEN}")], 401, "invalid_admin_token"),
    "as a key": ([("x-api-key", TOKEN)], 401, "missing_admin_token"),
    "twice": ([("Authorization", f"Bearer {TOKEN}")] * 2, 400, "duplicate_header"),
}


async def test_132_with_a_token_all_but_health_wants_it(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"admin_token": TOKEN}
    async with a_scene(tmp_path, **settings) as scene:
        for path in PRIVATE:
            seen = {}
            for name, (headers, _, _) in GIVEN.items():
                answer = await get(scene, path, *headers)
                seen[name] = (headers, answer.status, None if answer.status == 200 else answer.error["code"])
            assert seen == GIVEN
        for path in HEALTH:
            assert (await get(scene, path)).status == 200
        assert TOKEN not in scene.gateway.log


async def test_132_nothing_of_it_is_on_the_clients_address(scene: Scene) -> None:
    for path in (*PRIVATE, *HEALTH, "/v1/admin/keys", "/admin/reload"):
        for method in ("GET", "POST"):
            answer = await scene.gateway.ask(None, path=path, method=method)
            assert (path, answer.status, answer.error["code"]) == (path, 404, "unknown_path")
