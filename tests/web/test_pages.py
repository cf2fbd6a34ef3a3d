"""The paths below each mount: models, the schema's document, errors in each way in's shape."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.kit.client import Answer, ask, request_bytes
from tests.kit.gateway import KEY
from tests.kit.scene import Scene
from tests.kit.words import ANSWER

from sluicegate.demo.scripts import json_answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

NARROW = "sk-narrow-key"
TARGET = {"targets": [{"upstream": "plain", "model": "m"}]}
SETTINGS: dict[str, Any] = {
    "models": {"fast": TARGET, "team/deep/model": TARGET, "odd%20ü": TARGET},
    "keys": [
        {"name": "all", "key": KEY, "models": ["*"]},
        {"name": "narrow", "key": NARROW, "models": ["team/*", "plain/named"]},
    ],
    "mounts": [
        {"prefix": "/v1", "profile": "openai"},
        {"prefix": "/clear/v1", "profile": "transparent"},
        {"prefix": "/openai/v1", "profile": "prefixed", "public_url": "https://example.com/openai"},
        {"prefix": "/bare/v1", "profile": "prefixed"},
    ],
}
MOUNTS = ["/v1", "/clear/v1", "/openai/v1", "/bare/v1"]


async def get(scene: Scene, path: str, key: str | None = KEY, **how: Any) -> Answer:
    return await ask(scene.gateway.url, request_bytes(None, path=path, key=key, method="GET", **how))


async def ids(scene: Scene, prefix: str, key: str) -> list[str]:
    answer = await get(scene, f"{prefix}/models", key)
    assert (answer.status, answer.json["object"]) == (200, "list")
    return [model["id"] for model in answer.json["data"]]


@pytest.mark.parametrize("prefix", MOUNTS)
async def test_models_are_listed_below_every_mount(scene: Scene, prefix: str) -> None:
    assert await ids(scene, prefix, KEY) == ["fast", "team/deep/model", "odd%20ü"]


async def test_a_key_sees_what_it_may_use(scene: Scene) -> None:
    assert await ids(scene, "/v1", NARROW) == ["team/deep/model", "plain/named"]


async def test_an_entry_has_openais_members(scene: Scene) -> None:
    entry = (await get(scene, "/v1/models")).json["data"][0]
    assert entry == {"id": "fast", "object": "model", "created": entry["created"], "owned_by": "sluicegate"}
    assert isinstance(entry["created"], int)


ONE = {
    "/v1/models/fast": "fast",
    "/v1/models/team/deep/model": "team/deep/model",
    "/v1/models/team%2Fdeep%2fmodel": "team/deep/model",
    "/v1/models/odd%2520%C3%BC": "odd%20ü",
    "/v1/models/plain/whatever": "plain/whatever",
    "/v1/models/fast?x=/y": "fast",
}


@pytest.mark.parametrize("path", ONE)
async def test_one_model_is_found_by_its_id_slashes_escaped_or_not(scene: Scene, path: str) -> None:
    answer = await get(scene, path)
    assert (answer.status, answer.json["id"]) == (200, ONE[path])


NONE = [
    ("/v1/models/none", KEY, "model_not_found"),
    ("/v1/models/FAST", KEY, "model_not_found"),
    ("/v1/models/fast%00", KEY, "model_not_found"),
    ("/v1/models/team%252Fdeep%252Fmodel", KEY, "model_not_found"),
    ("/v1/models/%FF%FE", KEY, "model_not_found"),
    ("/v1/models/fast", NARROW, "model_not_found"),
    ("/v1/models/", KEY, "unknown_path"),
    ("/v1/models/fast%2", KEY, "unknown_path"),
    ("/v1/models/%zz", KEY, "unknown_path"),
    ("/v1/model", KEY, "unknown_path"),
]


@pytest.mark.parametrize(("path", "key", "code"), NONE)
async def test_what_is_not_there_or_not_the_callers_is_a_404(scene: Scene, path: str, key: str, code: str) -> None:
    answer = await get(scene, path, key)
    assert (answer.status, answer.error["code"]) == (404, code)


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/fast"])
async def test_models_want_a_key(scene: Scene, path: str) -> None:
    answer = await get(scene, path, None)
    assert (answer.status, answer.error["code"]) == (401, "missing_api_key")
    with_other_header = await get(scene, path, None, headers=[("x-api-key", KEY)])
    assert with_other_header.status == 200


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("/openai/schemas/ChatCompletion.json", "https://example.com/openai/schemas/ChatCompletion.json"),
        ("/openai/v1/schemas/ChatCompletion.json", "https://example.com/openai/schemas/ChatCompletion.json"),
        ("/bare/v1/schemas/ChatCompletion.json", None),
    ],
)
async def test_the_schemas_document_stands_where_answers_say(scene: Scene, path: str, address: str | None) -> None:
    answer = await get(scene, path, None)
    schema = answer.json
    assert (answer.status, schema.get("$id")) == (200, address)
    assert schema["required"] == ["choices", "created", "model", "object"]
    assert schema["properties"]["choices"]["minItems"] == 1
    assert schema["properties"]["$schema"] == {"type": "string", "format": "uri", "readOnly": True}
    assert set(schema["properties"]["choices"]["items"]["properties"]) == {"finish_reason", "index", "delta", "message"}


async def test_other_profiles_have_no_schema(scene: Scene) -> None:
    assert (await get(scene, "/v1/schemas/ChatCompletion.json")).status == 404


@pytest.mark.parametrize("prefix", MOUNTS)
@pytest.mark.parametrize("way", ["/chat/completions", "/completions", "/responses"])
async def test_errors_have_openais_shape_on_its_ways_in(scene: Scene, prefix: str, way: str) -> None:
    answer = await ask(scene.gateway.url, request_bytes(b"{", path=prefix + way, key=KEY))
    assert answer.status == 400
    assert set(answer.json) == {"error"}
    assert set(answer.error) == {"message", "type", "param", "code"}
    assert answer.error["type"] == "invalid_request_error"


REFUSALS = {
    "no key": (request_bytes(b"{}", path="/v1/messages"), 401, "authentication_error", "missing_api_key"),
    "no JSON": (request_bytes(b"{", path="/v1/messages", key=KEY), 400, "invalid_request_error", "invalid_json"),
    "GET": (
        request_bytes(None, path="/v1/messages", key=KEY, method="GET"),
        405,
        "invalid_request_error",
        "method_not_allowed",
    ),
    "compressed": (
        request_bytes(b"{}", path="/v1/messages", key=KEY, headers=[("Content-Encoding", "gzip")]),
        415,
        "invalid_request_error",
        "unsupported_content_encoding",
    ),
    "two keys": (
        request_bytes(b"{}", path="/v1/messages", key=KEY, headers=[("Authorization", "Bearer x")]),
        400,
        "invalid_request_error",
        "duplicate_header",
    ),
}


@pytest.mark.parametrize(("sent", "status", "kind", "code"), REFUSALS.values(), ids=REFUSALS)
async def test_errors_have_the_envelope_on_messages(
    scene: Scene, sent: bytes, status: int, kind: str, code: str
) -> None:
    answer = await ask(scene.gateway.url, sent)
    assert (answer.status, answer.json["type"]) == (status, "error")
    assert (answer.error["type"], answer.error["code"]) == (kind, code)
    assert answer.json["request_id"] == answer.id == answer.header("request-id")


async def test_an_answer_tells_who_made_it_and_how_long_it_took(scene: Scene) -> None:
    body = json.dumps({"model": scene.model(json_answer(ANSWER)), "messages": []}).encode()
    answer = await ask(scene.gateway.url, request_bytes(body, key=KEY, headers=[("X-Request-Id", "mine-1")]))
    assert (answer.status, answer.body) == (200, ANSWER)
    assert (answer.id, answer.header("server")) == ("mine-1", "sluicegate")
    assert "dur=" in (answer.header("server-timing") or "")
