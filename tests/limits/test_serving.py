"""Limits as callers meet them at one process: what is refused, with which headers, and what is counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
import time
from typing import Any

import anthropic
import openai
import pytest
import pytest_asyncio
from tests.kit.client import Answer, Wire, chat, request_bytes
from tests.kit.gateway import KEY, eventually
from tests.kit.scene import Scene
from tests.kit.scene import scene as a_scene
from tests.kit.words import ANSWER, GOOD

from sluicegate.demo.scripts import Script, Stall, json_answer, respond

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: One key for each test, so that none draws from another's limits.
ALLOWANCES: Mapping[str, dict[str, Any]] = {
    "three-requests": {"requests_per_minute": 3},
    "sdk-requests": {"requests_per_minute": 1},
    "claude-requests": {"requests_per_minute": 1},
    "tokens": {"tokens_per_minute": 1000},
    "default-tokens": {"tokens_per_minute": 9000},
    "capped-tokens": {"tokens_per_minute": 1000},
    "silent-tokens": {"tokens_per_minute": 1000},
    "failing-tokens": {"tokens_per_minute": 1000},
    "one-stream": {"concurrent_streams": 1},
    "two-streams": {"concurrent_streams": 2, "requests_per_minute": 1000},
    "blue-1": {"group": "blue"},
    "blue-2": {"group": "blue", "requests_per_minute": 100},
    "all-at-once": {"tokens_per_minute": 300},
    "free": {},
}
GROUPS = {"blue": {"requests_per_minute": 3}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    keys = [{"name": name, "key": key_of(name), **allowance} for name, allowance in ALLOWANCES.items()]
    async with a_scene(
        tmp_path_factory.mktemp("limits"),
        keys=[{"name": "tests", "key": KEY}, *keys],
        groups=GROUPS,
        models={
            "capped": {"targets": [{"upstream": "plain", "model": "capped"}], "max_output": 100},
            "rare": {"targets": [{"upstream": "plain", "model": "rare"}], "limits": {"requests_per_minute": 2}},
        },
    ) as running:
        yield running


def key_of(name: str) -> str:
    return KEY if name == "tests" else f"sk-test-{name}"


async def within_a_minute(seconds: float = 10.0) -> None:
    """Wait for the next minute if this one ends too soon for a test that counts inside one."""
    if (left := 60 - time.time() % 60) < seconds:
        await asyncio.sleep(left)


async def asked(scene: Scene, name: str, model: str = "", **members: Any) -> Answer:
    model = model or scene.model(json_answer(ANSWER))
    return await scene.gateway.ask(chat(model, **members), key=key_of(name))


def rates(answer: Answer, kind: str) -> tuple[str | None, str | None]:
    """The limit and what remains of it."""
    return answer.header(f"x-ratelimit-limit-{kind}"), answer.header(f"x-ratelimit-remaining-{kind}")


def refusal(answer: Answer) -> tuple[int, str, str]:
    return answer.status, answer.json["error"]["type"], answer.json["error"]["code"]


@pytest.mark.timeout(90)
async def test_requests_per_minute_and_its_headers(scene: Scene) -> None:
    await within_a_minute()
    before = await scene.gateway.metrics()
    answers = [await asked(scene, "three-requests") for _ in range(5)]

    assert [200, 200, 200, 429, 429] == [answer.status for answer in answers]
    assert [("3", left) for left in ("2", "1", "0", "0", "0")] == [rates(answer, "requests") for answer in answers]
    assert (429, "rate_limit_error", "requests_per_minute_exceeded") == refusal(answers[3])
    assert "This API key's limit of 3 requests per minute is reached." == answers[3].json["error"]["message"]
    wait = int(answers[3].header("retry-after") or 0)
    assert 0 < wait <= 60
    assert wait * 1000 - 1000 <= int(answers[3].header("retry-after-ms") or 0) <= wait * 1000
    assert wait <= int((answers[3].header("x-ratelimit-reset-requests") or "").removesuffix("s")) <= wait + 1
    assert (None, None) == rates(answers[0], "tokens"), "what is not limited has no headers"
    moved = await scene.gateway.metrics() - before
    assert 2 == moved.get("sluicegate_limit_refusals_total", scope="key", kind="requests")
    assert 2 == moved.get("sluicegate_requests_total", status="429", error_type="requests_per_minute_exceeded")


@pytest.mark.timeout(90)
async def test_tokens_are_reserved_by_what_the_request_says_and_settled_by_what_it_used(scene: Scene) -> None:
    await within_a_minute()
    model = scene.model(json_answer(ANSWER))
    first = await asked(scene, "tokens", model, max_tokens=500)
    second = await asked(scene, "tokens", model, max_completion_tokens=600)
    third = await asked(scene, "tokens", model, max_tokens=200, n=2)

    rows = [row for row in await scene.gateway.rows() if row["caller"] == "tokens"]
    reserved = [row["reserved"] for row in reversed(rows)]
    prompts = [row["bytes_in"] // 4 + 1 for row in reversed(rows)]
    assert [500 + prompts[0], 600 + prompts[1], 400 + prompts[2]] == reserved
    assert [
        ("1000", str(1000 - reserved[0])),
        ("1000", str(1000 - 18 - reserved[1])),
        ("1000", str(1000 - 36 - reserved[2])),
    ] == [rates(answer, "tokens") for answer in (first, second, third)]

    refused = await asked(scene, "tokens", model, max_tokens=950)
    assert (429, "rate_limit_error", "tokens_per_minute_exceeded") == refusal(refused)
    assert ("1000", str(1000 - 54)) == rates(refused, "tokens")


@pytest.mark.timeout(90)
async def test_a_request_that_does_not_say_reserves_the_models_most_or_the_default(scene: Scene) -> None:
    await within_a_minute()
    scene.upstream.script("capped", json_answer(ANSWER))
    for name, model, said, expected in (
        ("default-tokens", "", {}, 4096),
        ("capped-tokens", "capped", {}, 100),
        ("capped-tokens", "capped", {"max_tokens": 50}, 50),
        ("capped-tokens", "capped", {"max_tokens": 5000}, 100),
        ("capped-tokens", "capped", {"max_output_tokens": 60}, 60),
    ):
        await asked(scene, name, model, **said)
        row = (await scene.gateway.rows())[0]
        assert expected == row["reserved"] - (row["bytes_in"] // 4 + 1), (name, said)


@pytest.mark.timeout(90)
async def test_a_stream_without_usage_costs_what_its_row_estimates(scene: Scene) -> None:
    await within_a_minute()
    silent = tuple(event for event in GOOD if b"usage" not in event)
    await asked(scene, "silent-tokens", scene.model(respond(*silent)), stream=True, max_tokens=100)
    row = await scene.gateway.row(caller="silent-tokens")

    after = await asked(scene, "silent-tokens", max_tokens=1)
    again = (await scene.gateway.rows())[0]["reserved"]
    tokens = row["usage"]["tokens"]
    assert ("estimated", "estimated") == (row["usage"]["input_provenance"], row["usage"]["output_provenance"])
    assert tokens["input"] > 0 < tokens["output"]
    assert str(1000 - tokens["input"] - tokens["output"] - again) == rates(after, "tokens")[1]


@pytest.mark.timeout(90)
async def test_a_request_that_fails_gives_its_tokens_back(scene: Scene) -> None:
    await within_a_minute()
    failing = scene.model(json_answer(b'{"error":{"message":"no"}}', status=500))
    failed = await asked(scene, "failing-tokens", failing, max_tokens=900)
    assert 502 == failed.status
    after = await asked(scene, "failing-tokens", max_tokens=900)

    assert 200 == after.status


async def test_118_a_hundred_at_once_against_room_for_three(scene: Scene) -> None:
    await within_a_minute()
    model = scene.model(Script((Stall(),)))
    body = chat(model, stream=True, max_tokens=70)
    reserved = len(request_bytes(body).partition(b"\r\n\r\n")[2]) // 4 + 1 + 70
    assert 3 == 300 // reserved
    sent = request_bytes(body, key=key_of("all-at-once"))
    wires = [Wire(scene.gateway.url) for _ in range(100)]
    refused: list[Answer] = []

    async def one(wire: Wire) -> None:
        await wire.__aenter__()
        await wire.send(sent)
        refused.append(await wire.head())

    tasks = [asyncio.ensure_future(one(wire)) for wire in wires]

    async def all_decided() -> bool:
        return len(refused) + len(scene.requests(model)) == 100

    await eventually(all_decided, "a hundred decisions", 20)
    assert (97, {429}, 3) == (len(refused), {answer.status for answer in refused}, len(scene.requests(model)))
    for task in tasks:
        task.cancel()
    for wire in wires:
        wire.close()


async def test_a_client_that_leaves_frees_its_stream_at_once(scene: Scene) -> None:
    model = scene.model(respond(GOOD[0], Stall()))
    for _ in range(3):
        async with Wire(scene.gateway.url) as wire:
            await wire.send(request_bytes(chat(model, stream=True), key=key_of("one-stream")))
            assert 200 == (await wire.head()).status
            refused = await asked(scene, "one-stream", model, stream=True)
            assert (429, "rate_limit_error", "concurrent_streams_exceeded") == refusal(refused)
            assert "1" == refused.header("retry-after")
            assert 200 == (await asked(scene, "one-stream")).status, "what is no stream is not counted as one"
        before = time.monotonic()

        async def free() -> bool:
            async with Wire(scene.gateway.url) as again:
                await again.send(request_bytes(chat(model, stream=True), key=key_of("one-stream")))
                return (await again.head()).status == 200

        await eventually(free, "the stream's place", 1.0)
        assert time.monotonic() - before < 1

        async def nobody() -> bool:
            return (await scene.gateway.metrics()).get("sluicegate_streams_active") == 0

        await eventually(nobody, "the end of the streams")


async def test_streams_that_end_give_their_places_back(scene: Scene) -> None:
    for _ in range(20):
        answer = await asked(scene, "two-streams", scene.model(respond(*GOOD)), stream=True)
        assert (200, True) == (answer.status, answer.whole)


@pytest.mark.timeout(90)
async def test_the_keys_of_a_group_share_its_limits(scene: Scene) -> None:
    await within_a_minute()
    answers = [await asked(scene, name) for name in ("blue-1", "blue-2", "blue-1", "blue-2")]

    assert [200, 200, 200, 429] == [answer.status for answer in answers]
    assert ("3", "1") == rates(answers[1], "requests"), "the limit with least left"
    assert "This API key's group's limit of 3 requests per minute is reached." == answers[3].json["error"]["message"]
    row = (await scene.gateway.rows())[0]
    assert ("blue-2", "blue") == (row["caller"], row["group"])


@pytest.mark.timeout(90)
async def test_a_models_limit_is_for_all_its_callers(scene: Scene) -> None:
    await within_a_minute()
    scene.upstream.script("rare", json_answer(ANSWER))
    answers = [await asked(scene, name, "rare") for name in ("free", "tests", "free")]

    assert [200, 200, 429] == [answer.status for answer in answers]
    assert "This model's limit of 2 requests per minute is reached." == answers[2].json["error"]["message"]


async def test_a_request_that_one_limit_refuses_draws_from_none(scene: Scene) -> None:
    await within_a_minute()
    model = scene.model(respond(GOOD[0], Stall()))
    async with Wire(scene.gateway.url) as one, Wire(scene.gateway.url) as other:
        sent = request_bytes(chat(model, stream=True), key=key_of("two-streams"))
        await one.send(sent)
        await one.head()
        await other.send(sent)
        head = await other.head()
        refused = await asked(scene, "two-streams", model, stream=True)
        assert (429, "rate_limit_error", "concurrent_streams_exceeded") == refusal(refused)
        assert rates(head, "requests") == rates(refused, "requests")


async def test_without_limits_there_are_no_headers(scene: Scene) -> None:
    answer = await asked(scene, "free")

    assert [] == [name for name, _ in answer.headers if name.lower().startswith("x-ratelimit")]
    assert 0 == (await scene.gateway.rows())[0]["reserved"]


@pytest.mark.timeout(90)
async def test_openais_sdk_raises_its_rate_limit_error_and_finds_the_wait(scene: Scene) -> None:
    await within_a_minute()
    async with openai.AsyncOpenAI(
        base_url=f"{scene.gateway.url}/v1", api_key=key_of("sdk-requests"), max_retries=0
    ) as client:
        model = scene.model(json_answer(ANSWER))
        await client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hi"}])
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hi"}])

        assert ("requests_per_minute_exceeded", "rate_limit_error") == (caught.value.code, caught.value.type)
        wait = client._parse_retry_after_header(caught.value.response.headers)
        assert wait is not None
        assert 0 < wait <= 60
        assert "1" == caught.value.response.headers["x-ratelimit-limit-requests"]


@pytest.mark.timeout(90)
async def test_anthropics_sdk_does_too(scene: Scene) -> None:
    await within_a_minute()
    async with anthropic.AsyncAnthropic(
        base_url=scene.gateway.url, api_key=key_of("claude-requests"), max_retries=0
    ) as client:
        model = scene.model(json_answer(b"{}"), by="plain").replace("plain/", "claude/")
        asking: Any = {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
        await client.messages.create(**asking)
        with pytest.raises(anthropic.RateLimitError) as caught:
            await client.messages.create(**asking)

        wait = client._parse_retry_after_header(caught.value.response.headers)
        assert wait is not None
        assert 0 < wait <= 60
