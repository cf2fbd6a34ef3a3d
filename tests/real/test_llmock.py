"""llmock as the judge of our manners: an upstream that fails at random and says how its client, the gateway, behaved.

It is found at `.tools/llmock/bin/llmock`, where `make tools` puts it, or on PATH; without it these tests are skipped.
The judge counts a request with the same body as a retry of one that failed: the gateway's own second tries, and those
of the caller before it, who waits as an SDK's user does.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
import json
from pathlib import Path
import random
import shutil
import socket
import subprocess
from typing import Any

import openai
import pytest
from tests.kit.gateway import Gateway, configuration, eventually

ROOT = Path(__file__).resolve().parent.parent.parent
LLMOCK = shutil.which("llmock", path=str(ROOT / ".tools" / "llmock" / "bin")) or shutil.which("llmock")
pytestmark = pytest.mark.skipif(LLMOCK is None, reason="`make tools` installs llmock")

CALLS = 30
#: How often a caller asks. With the gateway's own second try that stays below the ten that the judge calls a storm.
TRIES = {"errors": 5, "streams that break": 8}
#: Seconds before the caller's second try, longer than the gateway's own; then more each time.
FIRST_WAIT, GROWTH = 0.8, 1.4
STALL = 3
MANNERS: dict[str, tuple[str, ...]] = {
    "errors": ("--error-rate", "429=0.15", "--error-rate", "500=0.1", "--error-rate", "503=0.1"),
    "errors nobody should try again": ("--error-rate", "400=0.3", "--error-rate", "401=0.1", "--error-rate", "404=0.1"),
    "a rate limit": ("--rpm", "25"),
    "streams that break": (
        *("--stream-fault", "truncate=0.1", "--stream-fault", "disconnect=0.1", "--stream-fault", "malformed=0.1"),
        *("--stream-fault", "stall=0.05", "--stream-stall-seconds", str(STALL)),
        *("--stream-chunk-delay-ms", "100"),
    ),
}


class Judge:
    """A running llmock."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    async def verdict(self) -> dict[str, Any]:
        """Ask it what it thinks of its clients, warnings counted."""
        assert LLMOCK
        asked = await asyncio.create_subprocess_exec(
            LLMOCK, "report", "--url", self.url, "--json", "--strict", stdout=asyncio.subprocess.PIPE
        )
        said, _ = await asked.communicate()
        told: dict[str, Any] = json.loads(said)
        return told | {"code": asked.returncode}


@asynccontextmanager
async def judging(folder: Path, *options: str) -> AsyncIterator[Judge]:
    """An llmock that misbehaves as told."""
    assert LLMOCK
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (folder / "llmock.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: ASYNC220 - returns at once
            [LLMOCK, "serve", "--host", "127.0.0.1", "--port", str(port), "--log-level", "warning", *options],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
    try:

        async def listening() -> bool:
            assert process.poll() is None, (folder / "llmock.log").read_text(encoding="utf-8", errors="replace")
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        await eventually(listening, "llmock to listen", 30)
        yield Judge(port)
    finally:
        process.terminate()
        process.wait(10)


@asynccontextmanager
async def gateway_before(judge: Judge, folder: Path) -> AsyncIterator[Gateway]:
    """A gateway with one credential at the judge's."""
    upstreams = {"judge": {"dialect": "openai", "base_url": f"{judge.url}/v1", "api_key": "sk-one"}}
    models = {"m": {"targets": [{"upstream": "judge", "model": "gpt-4o"}]}}
    gateway = Gateway(configuration(upstreams, models, timeouts={"idle": 1, "first_content": 2}), folder)
    try:
        await gateway.start()
        yield gateway
        await gateway.stop()
    finally:
        gateway.kill()


def may_try_again(error: Exception) -> bool:
    """Whether a careful user of the SDK tries again: passing errors, and streams that broke or make no sense."""
    if isinstance(error, openai.APIStatusError):
        passing = error.status_code in (408, 409, 429) or error.status_code >= 500
        return passing and error.response.headers.get("x-should-retry") != "false"
    return True


async def ask(client: openai.AsyncOpenAI, number: int, *, stream: bool) -> None:
    """Ask once by the SDK and read to the end."""
    asked: Any = {"model": "m", "messages": [{"role": "user", "content": "Tell me of sluices."}], "user": f"{number}"}
    if stream:
        async with await client.chat.completions.create(**asked, stream=True) as answer:
            async for _ in answer:
                pass
    else:
        await client.chat.completions.create(**asked)


async def call(client: openai.AsyncOpenAI, number: int, tries: int, *, stream: bool) -> None:
    """Ask until it works, or cannot, or has been tried often enough."""
    for attempt in range(tries):
        try:
            return await ask(client, number, stream=stream)
        except (openai.APIError, json.JSONDecodeError) as error:
            if not may_try_again(error):
                return None
            asked_for = error.response.headers.get("retry-after") if isinstance(error, openai.APIStatusError) else None
        wait = FIRST_WAIT * GROWTH**attempt * (1 + random.random() / 10)
        await asyncio.sleep(max(float(asked_for or 0) + 0.1, wait))
    return None


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in TRIES else [pytest.mark.full]) for name in MANNERS]
)
async def test_102_the_judge_finds_nothing_to_say(name: str, tmp_path: Path) -> None:
    streamed, tries = name == "streams that break", TRIES.get(name, 5)
    async with judging(tmp_path, *MANNERS[name]) as judge, gateway_before(judge, tmp_path) as gateway:
        async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0) as client:
            asking = (call(client, number, tries, stream=streamed or number % 2 == 0) for number in range(CALLS))
            await asyncio.gather(*asking)
        verdict = await judge.verdict()
        assert (verdict["findings"], verdict["passed"], verdict["code"]) == ([], True, 0)
        counted = Counter((row["status"], row["error_code"]) for row in await gateway.rows())
        assert len(counted) > 1, "nothing went wrong"
        metrics = await gateway.metrics()
        for (status, code), count in counted.items():
            assert metrics.get("sluicegate_requests_total", status=str(status), error_type=code) == count
        # What the judge saw more than we were asked is what the gateway tried again.
        assert verdict["attempts"] == sum(counted.values()) + metrics.get("sluicegate_retries_total")
