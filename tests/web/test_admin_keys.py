"""Keys by the admin API: made, listed, changed, rotated, revoked; and what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
import sqlite3
from typing import Any

import pytest
import pytest_asyncio
from tests.kit.client import Answer, ask, chat, request_bytes
from tests.kit.gateway import eventually
from tests.kit.scene import Scene
from tests.kit.scene import scene as a_scene
from tests.kit.words import ANSWER

from sluicegate.demo.scripts import json_answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

GROUPS = {"blue": {"requests_per_minute": 7_000_000}}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[1, 2], ids=["one worker", "two workers"])
async def scene(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    async with a_scene(tmp_path_factory.mktemp("keys"), workers=request.param, groups=GROUPS) as running:
        yield running


async def order(scene: Scene, method: str, path: str = "", said: Any = None, *headers: tuple[str, str]) -> Answer:
    return await ask(
        scene.gateway.admin, request_bytes(said, path=f"/admin/keys{path}", method=method, headers=headers)
    )


async def says(scene: Scene, key: str, status: int) -> None:
    async def said() -> bool:
        answers = [await scene.gateway.ask(chat(scene.model(json_answer(ANSWER))), key=key) for _ in range(4)]
        return {answer.status for answer in answers} == {status}

    await eventually(said, f"{status} for a key")


async def test_the_life_of_a_key(scene: Scene) -> None:
    made = await order(
        scene, "POST", "", {"name": "app", "models": ["plain/*"], "group": "blue", "tokens_per_minute": 9000}
    )
    assert made.status == 201
    key = made.json["key"]
    told = {name: value for name, value in made.json.items() if name not in ("key", "created")}
    assert told == {
        "name": "app",
        "key_begins": key[:10],
        "state": "good",
        "models": ["plain/*"],
        "group": "blue",
        "limits": {"tokens_per_minute": 9000},
        "rotated": None,
        "former_good_until": None,
        "expires": None,
        "revoked": None,
    }
    await says(scene, key, 200)

    changed = await order(scene, "PATCH", "/app", {"group": None, "models": ["*"], "requests_per_minute": 500})
    assert (changed.status, changed.json["group"], changed.json["models"]) == (200, None, ["*"])
    assert changed.json["limits"] == {"tokens_per_minute": 9000, "requests_per_minute": 500}

    rotated = await order(scene, "POST", "/app/rotate", {"overlap": 60})
    assert (rotated.status, rotated.json["state"]) == (200, "good")
    assert rotated.json["former_good_until"] > rotated.json["rotated"]
    await says(scene, rotated.json["key"], 200)
    await says(scene, key, 200)

    shown = await order(scene, "GET", "/app")
    assert shown.json == {name: value for name, value in rotated.json.items() if name != "key"}
    listed = await order(scene, "GET")
    assert [one for one in listed.json["data"] if one["name"] == "app"] == [shown.json]

    revoked = await order(scene, "DELETE", "/app")
    assert (revoked.status, revoked.json["state"]) == (200, "revoked")
    await says(scene, key, 401)
    await says(scene, rotated.json["key"], 401)
    assert (await order(scene, "DELETE", "/app")).json == revoked.json
    assert key not in scene.gateway.log
    assert "key app: revoke by the admin API" in scene.gateway.log


REFUSED: dict[str, tuple[str, str, Any, int, str, list[str]]] = {
    "no name": ("POST", "", {}, 400, "invalid_key", ["name"]),
    "a name that is none": ("POST", "", {"name": "a b"}, 400, "invalid_key", ["name"]),
    "everything wrong": (
        "POST",
        "",
        {"name": "x", "models": "fast", "tokens_per_minute": -1, "expires": "soon", "colour": "red"},
        400,
        "invalid_key",
        ["colour", "expires", "models", "tokens_per_minute"],
    ),
    "no models": ("POST", "", {"name": "x", "models": []}, 400, "invalid_key", ["models"]),
    "a group nobody knows": ("POST", "", {"name": "x", "group": "red"}, 400, "invalid_key", ["group"]),
    "a key of one's own": ("POST", "", {"name": "x", "key": "sk-0123456789"}, 400, "invalid_key", ["key"]),
    "a name that is configured": ("POST", "", {"name": "tests"}, 409, "key_exists", []),
    "a name that is taken": ("POST", "", {"name": "taken"}, 409, "key_exists", []),
    "a name that was taken": ("POST", "", {"name": "gone"}, 409, "key_exists", []),
    "not an object": ("POST", "", [1], 400, "invalid_json", []),
    "not JSON": ("POST", "", b"{", 400, "invalid_json", []),
    "more than anybody says": ("POST", "", b"x" * 70_000, 413, "request_too_large", []),
    "one that is not there": ("GET", "/nobody", None, 404, "key_not_found", []),
    "a configured one": ("DELETE", "/tests", None, 404, "key_not_found", []),
    "another name": ("PATCH", "/taken", {"name": "other"}, 400, "invalid_key", ["name"]),
    "a change of one that is revoked": ("PATCH", "/gone", {"models": ["*"]}, 409, "key_revoked", []),
    "a rotation of one that is revoked": ("POST", "/gone/rotate", {}, 409, "key_revoked", []),
    "an overlap that is none": ("POST", "/taken/rotate", {"overlap": "long"}, 400, "invalid_key", ["overlap"]),
    "an overlap below nothing": ("POST", "/taken/rotate", {"overlap": -1}, 400, "invalid_key", ["overlap"]),
    "a rotation with more": ("POST", "/taken/rotate", {"grace": 5}, 400, "invalid_key", []),
    "another method": ("PUT", "/taken", {}, 405, "method_not_allowed", []),
    "another method for all": ("DELETE", "", None, 405, "method_not_allowed", []),
    "no such path": ("POST", "/taken/turn", {}, 404, "unknown_path", []),
    "a slash at the end": ("GET", "/", None, 404, "unknown_path", []),
}


async def test_what_is_refused_says_what_would_be_right(scene: Scene) -> None:
    assert (await order(scene, "POST", "", {"name": "taken"})).status == 201
    assert (await order(scene, "POST", "", {"name": "gone"})).status == 201
    assert (await order(scene, "DELETE", "/gone")).status == 200
    seen = {}
    for name, (method, path, said, *_) in REFUSED.items():
        answer = await order(scene, method, path, said)
        problems = sorted(problem["path"] for problem in answer.error.get("problems", ()))
        seen[name] = (method, path, said, answer.status, answer.error["code"], problems)
    assert seen == REFUSED


async def test_a_store_that_is_away_is_said(scene: Scene) -> None:
    with closing(sqlite3.connect(scene.gateway.folder / "sluicegate.db", timeout=10)) as store:
        store.execute("ALTER TABLE keys RENAME TO keys_away")
        answer = await order(scene, "GET")
        store.execute("ALTER TABLE keys_away RENAME TO keys")
    assert (answer.status, answer.error["code"]) == (503, "store_unavailable")


async def test_the_admin_token_is_wanted_and_web_pages_are_not(scene: Scene, tmp_path: Path) -> None:
    assert (await order(scene, "GET", "", None, ("Origin", "http://localhost"))).status == 403
    async with a_scene(tmp_path, admin_token="the-admin-token") as guarded:
        assert (await order(guarded, "POST", "", {"name": "app"})).status == 401
        allowed = await order(guarded, "POST", "", {"name": "app"}, ("Authorization", "Bearer the-admin-token"))
        assert allowed.status == 201


async def test_without_a_store_there_are_no_keys_to_make(tmp_path: Path) -> None:
    async with a_scene(tmp_path, store="none") as bare:
        answer = await order(bare, "POST", "", {"name": "app"})
        assert (answer.status, answer.error["code"]) == (409, "no_store")
