"""Keys in PostgreSQL, which is away when the gateway starts, comes, and goes."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.kit.client import Answer, chat
from tests.kit.gateway import KEY, eventually
from tests.kit.keys import beside
from tests.kit.postgres import server
from tests.kit.scene import Scene
from tests.kit.scene import scene as a_scene
from tests.kit.words import ANSWER

from sluicegate.demo.scripts import json_answer


async def asked(scene: Scene, key: str) -> Answer:
    return await scene.gateway.ask(chat(scene.model(json_answer(ANSWER))), key=key)


async def says(scene: Scene, key: str, status: int, within: float = 5.0) -> None:
    async def said() -> bool:
        return (await asked(scene, key)).status == status

    await eventually(said, f"{status} for a key", within)


@pytest.mark.timeout(120)
async def test_keys_and_own_usage_in_a_server_that_comes_and_goes(tmp_path: Path) -> None:
    with server() as postgres:
        dsn = postgres.database("keys")
        postgres.stop()
        async with a_scene(tmp_path, store=dsn, keys_max_stale=1) as scene:
            unknown = await asked(scene, "sk-else")
            assert (unknown.status, unknown.error["code"]) == (503, "keys_unavailable")
            assert (await asked(scene, KEY)).status == 200
            postgres.start()
            await says(scene, "sk-else", 401, within=15)
            key = (await beside(scene.gateway.file, lambda keys: keys.create({"name": "app"})))["key"]
            await says(scene, key, 200)

            async def counted() -> bool:
                found = await scene.gateway.ask(None, path="/v1/usage?by=model", method="GET", key=key)
                return found.status == 200 and bool(found.json["data"])

            await eventually(counted, "the key's own usage", 10)
            postgres.stop()
            await says(scene, key, 503, within=10)
            assert (await asked(scene, KEY)).status == 200
            postgres.start()
            await says(scene, key, 200, within=15)
            await beside(scene.gateway.file, lambda keys: keys.revoke("app"))
            await says(scene, key, 401)
