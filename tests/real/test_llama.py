"""A real server behind the gateway: llama.cpp, asked with the official SDK and, for comparison, directly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
import re
import subprocess
import sys
from typing import Any

import openai
import pytest
import pytest_asyncio
from tests.kit.client import Wire, ask, chat, request_bytes
from tests.kit.gateway import Gateway, configuration, eventually
from tests.kit.llama import write_model

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = Path(__file__).resolve().parent.parent.parent
START_LIMIT = 60.0
QUESTION: Any = [{"role": "user", "content": "the cat sat on the mat and hello world"}]
#: Cached prompts would make the second of two equal questions report other details than the first.
FIXED: Any = {"seed": 7, "temperature": 0, "extra_body": {"cache_prompt": False}}


@dataclass
class Llama:
    """A running llama.cpp and the gateway in front of it."""

    gateway: Gateway
    url: str
    log_file: Path
    client: openai.AsyncOpenAI
    """The official SDK, through the gateway."""
    direct: openai.AsyncOpenAI
    """The official SDK, past it."""

    @property
    def log(self) -> str:
        """What llama.cpp has said."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def llama(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Llama]:
    folder = tmp_path_factory.mktemp("llama")
    model, log_file = folder / "tiny.gguf", folder / "llama.log"
    write_model(model)
    with log_file.open("wb") as log:
        process = subprocess.Popen(  # noqa: ASYNC220 - returns at once
            [sys.executable, "-m", "tests.kit.llama", str(model)], stdout=log, stderr=subprocess.STDOUT, cwd=ROOT
        )
    try:

        async def listening() -> re.Match[str] | None:
            assert process.poll() is None, log_file.read_text(encoding="utf-8", errors="replace")[-2000:]
            return re.search(
                r"^listening (http://\S+)$", log_file.read_text(encoding="utf-8", errors="replace"), re.MULTILINE
            )

        await eventually(listening, "llama.cpp to listen", START_LIMIT)
        found = await listening()
        assert found
        upstreams = {"local": {"dialect": "openai", "base_url": f"{found[1]}/v1"}}
        settings = configuration(upstreams, {"tiny": {"targets": [{"upstream": "local", "model": "tiny-random"}]}})
        gateway = Gateway(settings, folder)
        try:
            await gateway.start()
            async with (
                openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0) as client,
                openai.AsyncOpenAI(base_url=f"{found[1]}/v1", api_key="none", max_retries=0) as direct,
            ):
                yield Llama(gateway, found[1], log_file, client, direct)
            await gateway.stop()
        finally:
            gateway.kill()
    finally:
        process.kill()
        process.wait()


def figures(usage: openai.types.CompletionUsage | None) -> tuple[int, int, int]:
    """Prompt, completion and total."""
    assert usage is not None
    return usage.prompt_tokens, usage.completion_tokens, usage.total_tokens


async def test_a_plain_answer_is_llama_cpps_own_with_its_usage(llama: Llama) -> None:
    asked = {"messages": QUESTION, "max_tokens": 32, **FIXED}
    direct = await llama.direct.chat.completions.create(model="tiny-random", **asked)
    through = await llama.client.chat.completions.with_raw_response.create(model="tiny", **asked)
    answer = through.parse()
    assert answer.choices[0].message.content == direct.choices[0].message.content
    assert figures(answer.usage) == figures(direct.usage)
    row = await llama.gateway.row(id=through.headers["x-request-id"])
    reported = dict(row["usage"]["reported"])
    assert (reported["input"], reported["output"], reported["total"]) == figures(direct.usage)
    assert (row["usage"]["output_provenance"], row["outcome"]) == ("provider", "completed")


@pytest.mark.parametrize("asked", [True, False])
async def test_a_streamed_answer_is_llama_cpps_own_with_its_usage(llama: Llama, asked: bool) -> None:
    members = {"messages": QUESTION, "max_tokens": 48, **FIXED}
    direct = await llama.direct.chat.completions.create(model="tiny-random", **members)
    before = await llama.gateway.metrics()
    if asked:
        members["stream_options"] = {"include_usage": True}
    stream = await llama.client.chat.completions.create(model="tiny", stream=True, **members)
    chunks = [chunk async for chunk in stream]
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    told = [figures(chunk.usage) for chunk in chunks if chunk.usage is not None]
    assert text == direct.choices[0].message.content
    assert told == ([figures(direct.usage)] if asked else [])
    row = await llama.gateway.row(id=stream.response.headers["x-request-id"])
    reported = dict(row["usage"]["reported"])
    assert (reported["input"], reported["output"], reported["total"]) == figures(direct.usage)
    moved = await llama.gateway.metrics() - before
    assert moved.get("sluicegate_tokens_total", direction="output", provenance="provider") == reported["output"]


async def test_what_llama_cpp_refuses_reaches_the_client_as_the_sdks_exception(llama: Llama) -> None:
    with pytest.raises(openai.BadRequestError):
        await llama.client.chat.completions.create(model="tiny", messages=[{"role": "nobody"}])  # type: ignore[typeddict-item]


@pytest.mark.parametrize("leave", [Wire.close, Wire.reset], ids=["FIN", "RST"])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_is_seen_by_llama_cpp_within_a_second(
    llama: Llama, stream: bool, leave: Any
) -> None:
    cancelled = llama.log.count("cancel task")
    body = chat("tiny", stream=stream, max_tokens=15_000, ignore_eos=True)
    async with Wire(llama.gateway.url) as wire:
        await wire.send(request_bytes(body, key=llama.gateway.key))
        if stream:
            await wire.until(await wire.head(), b"data: ")
        else:
            await eventually(lambda: working(llama), "llama.cpp to work on it")
        leave(wire)

        async def noticed() -> bool:
            return llama.log.count("cancel task") > cancelled

        await eventually(noticed, "`cancel task` in llama.cpp's log", within=2)
    assert (await llama.client.chat.completions.create(model="tiny", messages=QUESTION, max_tokens=4)).choices


async def working(llama: Llama) -> bool:
    """Whether one of its slots is busy."""
    slots = await ask(llama.url, request_bytes(None, path="/slots", method="GET"))
    return any(slot["is_processing"] for slot in slots.json)


async def test_many_at_once_are_each_counted_once(llama: Llama) -> None:
    before = await llama.gateway.metrics()
    answers = await asyncio.gather(
        *(llama.client.chat.completions.create(model="tiny", messages=QUESTION, max_tokens=8 + n) for n in range(12))
    )
    moved = await llama.gateway.metrics() - before
    expected = sum(figures(answer.usage)[1] for answer in answers)
    assert moved.get("sluicegate_tokens_total", direction="output", provenance="provider") == expected
    assert moved.get("sluicegate_requests_total", status="200") == 12
