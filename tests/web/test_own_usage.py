"""What a key has used, as it may ask itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
import sqlite3
from typing import Any

import pytest
import pytest_asyncio
from tests.kit.client import Answer, chat
from tests.kit.gateway import KEY, eventually
from tests.kit.scene import Scene
from tests.kit.scene import scene as a_scene
from tests.kit.words import ANSWER

from sluicegate.demo.scripts import json_answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

OTHER = "sk-test-other"
PRICES = [{"model": "plain/*", "input": 1, "output": 2}]
MOUNTS = [{"prefix": "/v1"}, {"prefix": "/other", "profile": "prefixed"}]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    keys = [{"name": "tests", "key": KEY}, {"name": "other", "key": OTHER}]
    async with a_scene(tmp_path_factory.mktemp("usage"), keys=keys, prices=PRICES, mounts=MOUNTS) as running:
        yield running


async def used(scene: Scene, query: str = "", key: str = OTHER, prefix: str = "/v1") -> Answer:
    return await scene.gateway.ask(None, key=key, path=f"{prefix}/usage{query}", method="GET")


async def test_a_key_sees_what_it_has_used_and_nothing_else(scene: Scene) -> None:
    model = scene.model(json_answer(ANSWER))
    for key in (OTHER, OTHER, KEY):
        assert (await scene.gateway.ask(chat(model), key=key)).status == 200
    rows = [row for row in await scene.gateway.rows() if row["caller"] == "other"]
    tokens = rows[0]["usage"]["tokens"]

    async def there() -> bool:
        data = (await used(scene)).json["data"]
        return bool(data) and data[0]["requests"] == 2

    await eventually(there, "two rows in the store")
    answer = await used(scene, "?by=day,model")
    today = datetime.now(UTC).date().isoformat()
    (line,) = answer.json["data"]
    assert (answer.status, answer.json["object"], answer.json["until"]) == (200, "list", today)
    assert {name: line[name] for name in ("day", "model", "requests", "input_tokens", "output_tokens", "credits")} == {
        "day": today,
        "model": "plain/*",
        "requests": 2,
        "input_tokens": 2 * tokens["input"],
        "output_tokens": 2 * tokens["output"],
        "credits": 0,
    }
    assert line["cost"] == pytest.approx(2 * (tokens["input"] + 2 * tokens["output"]) / 1e6)
    assert (await used(scene, "?by=model")).json["data"][0]["requests"] == 2
    assert (await used(scene, "?since=2026-01-01&until=2026-01-31")).json["data"] == []
    assert (await used(scene, prefix="/other")).json["data"] == answer.json["data"]


WRONG: dict[str, tuple[str, dict[str, Any], int, str]] = {
    "no key": ("", {"key": None}, 401, "missing_api_key"),
    "another's": ("", {"key": "sk-nobody-knows"}, 401, "invalid_api_key"),
    "by where it went": ("?by=target", {}, 400, "invalid_value"),
    "by the same twice": ("?by=day,day", {}, 400, "invalid_value"),
    "by nothing": ("?by=", {}, 400, "invalid_value"),
    "for somebody else": ("?key=tests", {}, 400, "invalid_value"),
    "no day": ("?since=yesterday", {}, 400, "invalid_value"),
    "a day before days": ("?until=0001-01-01", {}, 400, "invalid_value"),
    "backwards": ("?since=2026-02-01&until=2026-01-01", {}, 400, "invalid_value"),
    "more than a year": ("?since=2024-01-01&until=2026-01-01", {}, 400, "invalid_value"),
    "twice": ("?since=2026-01-01&since=2026-01-02", {}, 400, "invalid_value"),
    "no query at all": ("?%", {}, 400, "invalid_value"),
    "a post": ("", {"method": "POST"}, 405, "method_not_allowed"),
}


async def test_what_cannot_be_asked_is_said_in_the_apis_words(scene: Scene) -> None:
    seen = {}
    for name, (query, how, *_) in WRONG.items():
        asked = {"key": OTHER, "method": "GET", "path": f"/v1/usage{query}"} | how
        answer = await scene.gateway.ask(None, **asked)
        seen[name] = (query, how, answer.status, answer.error["code"])
    assert seen == WRONG


async def test_a_store_that_is_away_or_was_never_there_is_503_and_requests_go_on(scene: Scene, tmp_path: Path) -> None:
    with closing(sqlite3.connect(scene.gateway.folder / "sluicegate.db", timeout=10)) as store:
        store.execute("ALTER TABLE daily RENAME TO daily_away")
        answer = await used(scene)
        await scene.serves()
        store.execute("ALTER TABLE daily_away RENAME TO daily")
    assert (answer.status, answer.error["code"], answer.header("retry-after")) == (503, "usage_unavailable", "5")
    assert (await used(scene)).status == 200
    async with a_scene(tmp_path, store="none") as bare:
        assert (await used(bare, key=KEY)).status == 503
