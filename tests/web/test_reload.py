"""What a reload changes and what it refuses, asked over the admin address and seen by clients."""

from __future__ import annotations

from pathlib import Path
import ssl
from typing import Any

import pytest
from tests.kit.client import Wire, ask, chat, request_bytes
from tests.kit.gateway import KEY
from tests.kit.scene import scene as a_scene
from tests.kit.words import ANSWER

from sluicegate.demo.scripts import json_answer
from sluicegate.demo.tls import Authority, make_authority

MODELS = request_bytes(None, path="/v1/models", key=KEY, method="GET")
TOKENS = [{"name": "tests", "key": KEY}, {"name": "other", "key": "sk-other-key"}]


def authority(folder: Path, name: str) -> tuple[Authority, ssl.SSLContext]:
    (folder / name).mkdir()
    made = make_authority(folder / name)
    return made, ssl.create_default_context(cafile=str(made.ca_file))


async def test_a_renewed_certificate_is_served_on_the_same_path(tmp_path: Path) -> None:
    old, trusts_old = authority(tmp_path, "old")
    new, trusts_new = authority(tmp_path, "new")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def install(made: Authority) -> None:
        cert.write_bytes(made.cert_file.read_bytes())
        key.write_bytes(made.key_file.read_bytes())

    install(old)
    async with a_scene(tmp_path, tls={"cert": str(cert), "key": str(key)}) as scene:
        async with Wire(scene.gateway.url, tls=trusts_old) as kept:
            install(new)
            assert (await scene.gateway.reload()).status == 200
            await kept.send(MODELS)
            assert (await kept.answer("GET")).status == 200
        assert (await ask(scene.gateway.url, MODELS, tls=trusts_new)).status == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            await ask(scene.gateway.url, MODELS, tls=trusts_old)
        key.write_bytes(old.key_file.read_bytes())
        refused = await scene.gateway.reload()
        assert [problem["path"] for problem in refused.error["problems"]] == ["tls"]
        assert (await ask(scene.gateway.url, MODELS, tls=trusts_new)).status == 200


@pytest.mark.parametrize("plain", [True, False], ids=["read by Rust", "read by aiohttp"])
async def test_a_connection_that_is_kept_meets_the_new_settings(tmp_path: Path, *, plain: bool) -> None:
    async with a_scene(tmp_path, keys=TOKENS) as scene, Wire(scene.gateway.url) as wire:
        headers = [] if plain else [("Expect", "100-continue")]
        body = chat(scene.model(json_answer(ANSWER)))
        sent = request_bytes(body, key="sk-other-key", headers=headers)
        await wire.send(sent)
        assert (await wire.answer()).body == ANSWER
        scene.gateway.configure(keys=TOKENS[:1])
        assert (await scene.gateway.reload()).status == 200
        await wire.send(sent)
        answer = await wire.answer()
        assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")


async def test_the_admin_token_is_new_at_once(tmp_path: Path) -> None:
    async with a_scene(tmp_path) as scene:
        scene.gateway.configure(admin_token="another-token")
        assert (await scene.gateway.reload()).status == 200
        assert (await scene.gateway.admin_get("/metrics")).status == 401
        assert (await scene.gateway.admin_get("/readyz")).status == 200
        sent = request_bytes(None, path="/metrics", method="GET", headers=[("Authorization", "Bearer another-token")])
        assert (await ask(scene.gateway.admin, sent)).status == 200
        assert (await scene.gateway.reload()).status == 401


FIXED: dict[str, tuple[dict[str, Any], str]] = {
    "another address": ({"listen": "127.0.0.1:1"}, "listen"),
    "another admin address": ({"admin": "127.0.0.1:1"}, "admin"),
    "more workers": ({"workers": 2}, "workers"),
    "another store": ({"store": "sqlite:///other.db"}, "store"),
    "another folder for the spool": ({"ledger": {"folder": "elsewhere"}}, "ledger"),
}


async def test_what_a_reload_cannot_change_is_said_and_nothing_changes(tmp_path: Path) -> None:
    async with a_scene(tmp_path) as scene:
        before = scene.gateway.file.read_bytes()
        for settings, path in FIXED.values():
            scene.gateway.configure(keys=TOKENS, **settings)
            answer = await scene.gateway.reload()
            assert (answer.status, [one["path"] for one in answer.error["problems"]]) == (400, [path])
            scene.gateway.file.write_bytes(before)
        asked = await scene.gateway.ask(chat("plain/never"), key="sk-other-key")
        assert (asked.status, asked.error["code"]) == (401, "invalid_api_key")


async def test_only_operators_may_ask_for_it(tmp_path: Path) -> None:
    async with a_scene(tmp_path) as scene:
        for headers, method, status in (
            ([("Origin", "http://localhost")], "POST", 403),
            ([], "GET", 405),
        ):
            sent = request_bytes(None, path="/admin/reload", method=method, headers=headers)
            assert (await ask(scene.gateway.admin, sent)).status == status
        sent = request_bytes(None, path="/admin/reload", method="POST", key=KEY)
        assert (await ask(scene.gateway.url, sent)).status == 404
        assert "reload" not in scene.gateway.log


async def test_reload_after_reload_keeps_nothing_of_the_former_ones(tmp_path: Path) -> None:
    async with a_scene(tmp_path) as scene:
        seen = []
        for _ in range(12):
            await scene.serves()
            assert (await scene.gateway.reload()).status == 200
            seen.append((await scene.gateway.metrics()).get("sluicegate_tasks"))
        assert min(seen[8:]) <= max(seen[:4])  # a moment's own tasks come and go
        connections = (await scene.gateway.metrics()).get("sluicegate_upstream_connections")
        assert connections == 0
