"""Every recorded stream through the whole gateway: the client's bytes are the recorded ones, the usage is the index's.

What the contract lets the gateway add stands in one table, by stream; what it takes out (the usage event a client did
not ask for) is computed here from the recording, by other means than the gateway's. `make test` takes two streams of
every kind and all in the table; `make test-all` takes all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
import json
import re
from typing import Any

import pytest
import pytest_asyncio
from tests.kit.corpus import Stream, first_of_each_kind, needs_corpus, streams
from tests.kit.inside import Inside, inside
from tests.kit.scene import Scene
from tests.kit.scene import scene as a_scene

from sluicegate.demo.scripts import Script, bytewise, replay, seeded

pytestmark = [needs_corpus, pytest.mark.asyncio(loop_scope="module")]

ERROR = b"<the dialect's error event>"
#: What follows the recorded bytes, by stream. Nothing else is ever added.
ADDED: dict[str, list[bytes]] = {
    "3474b763305afc08": [b"data: [DONE]\n\n"],  # writer finishes without a sentinel
    "2604d44cbd46688a": [b"data: [DONE]\n\n"],  # so does perplexity
    "1b94f5df9d811d01": [b"data: [DONE]\n\n"],
    "1f4e3ff0df35ec76": [b"data: [DONE]\n\n"],
    "16251e3296afc9fe": [b"\n\n"],  # the sentinel is left open at the end of the connection
    "3d85fb28957e966a": [b"\n"],
    "1d46aaf56eb8bd34": [b"\n"],
    "2c532e61d6900b38": [b"\n"],
    "0cc39fcd5efa10ad": [ERROR],  # gpustack: an `error:` line, which SDKs skip
    "15fbb6462e9f68c5": [b"\n"],  # the terminal event is left open
    "1f6c57ba8ce9b3e5": [b"\n"],
    "13f671d692526645": [b"\n"],
}
#: Streams that end with an error of the upstream's own.
FAILED = {"25e988586b4d1744", "0cc39fcd5efa10ad"}

SURFACES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "openai-chat": ("/v1/chat/completions", "plain", {"messages": [{"role": "user", "content": "Hello"}]}),
    "openai-completions": ("/v1/completions", "plain", {"prompt": "Hello"}),
    "openai-responses": ("/v1/responses", "plain", {"input": "Hello"}),
    "anthropic-messages": (
        "/v1/messages",
        "claude",
        {"max_tokens": 64, "messages": [{"role": "user", "content": "Hi"}]},
    ),
}
COMPLETIONS = ("openai-chat", "openai-completions")

EVERY = streams()
SAMPLE = {stream.id for stream in first_of_each_kind(EVERY, 2)} | ADDED.keys() | FAILED
ONE_PER_PROVIDER = {stream.id for stream in first_of_each_kind(EVERY, 1)}


def choice(keep: Callable[[Stream], bool]) -> list[Any]:
    """The streams that are kept, those outside the sample marked as part of the full matrix."""
    return [
        pytest.param(stream, id=stream.name, marks=[] if stream.id in SAMPLE else [pytest.mark.full])
        for stream in EVERY
        if keep(stream)
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with a_scene(tmp_path_factory.mktemp("recorded")) as running:
        yield running


def cuts(stream: Stream, data: bytes) -> list[Script]:
    """The recording written whole, at random as chunks, and at random through the framing."""
    seed = int(stream.id[:8], 16)
    return [replay(data), replay(data, seeded(seed)), replay(data).recut(seeded(seed + 1))]


def usage_events(data: bytes) -> list[bytes]:
    """The blocks that hold usage and nothing a client may have asked for."""
    found = []
    for block in re.findall(rb"(?s).*?(?:\r\n\r\n|\n\n)", data):
        lines = [
            line.removeprefix(b"data:").strip() for line in re.split(rb"\r?\n", block) if line.startswith(b"data:")
        ]
        try:
            told = json.loads(b"\n".join(lines))
        except ValueError:
            continue
        if isinstance(told, dict) and told.get("choices") == [] and told.get("usage"):
            found.append(block)
    return found


def assert_relayed(body: bytes, recorded: bytes, stream: Stream, *, asked: bool) -> None:
    """The body is the recording but for what the contract names."""
    expected = recorded
    if stream.dialect in COMPLETIONS and not asked:
        for block in usage_events(recorded):
            expected = expected.replace(block, b"", 1)
    assert body[: len(expected)] == expected
    rest = body[len(expected) :]
    for added in ADDED.get(stream.id, []):
        if added is ERROR:
            told = json.loads(rest.removeprefix(b"data: "))
            assert (told["error"]["code"], rest[-2:]) == ("upstream_error_in_band", b"\n\n")
            rest = b""
        else:
            assert rest[: len(added)] == added
            rest = rest[len(added) :]
    assert rest == b""


def assert_counted(row: dict[str, Any], stream: Stream) -> None:
    """The row has the index's usage, and the outcome that the recording shows."""
    usage = row["usage"]
    assert dict(usage["reported"]) == stream.usage
    assert (row["status"], row["error_code"]) == (200, "upstream_error_in_band" if stream.id in FAILED else "")
    word = "partial" if stream.id in FAILED else "provider"
    # Gemini leaves a direction out where there is nothing to count.
    for direction in ("input", "output"):
        assert usage[f"{direction}_provenance"] == (word if direction in stream.usage else "estimated")


async def relay(scene: Scene, stream: Stream, script: Script, *, secure: bool, asked: bool) -> None:
    """One recorded stream, one way, looked at from both ends."""
    path, by, members = SURFACES[stream.dialect]
    model = scene.model(script, by="secure" if secure and by == "plain" else by)
    options = {"stream_options": {"include_usage": True}} if asked and stream.dialect in COMPLETIONS else {}
    answer = await scene.gateway.ask({"model": model, "stream": True, **members, **options}, path=path)
    assert (answer.status, answer.whole) == (200, True)
    assert_relayed(answer.body, stream.read(), stream, asked=asked)
    assert_counted(await scene.gateway.row(id=answer.id), stream)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("stream", choice(lambda stream: stream.dialect in SURFACES))
async def test_69_the_client_gets_what_was_recorded(scene: Scene, stream: Stream, secure: bool) -> None:
    for script in cuts(stream, stream.read()):
        await relay(scene, stream, script, secure=secure, asked=True)
        if stream.dialect in COMPLETIONS:
            await relay(scene, stream, script, secure=secure, asked=False)


@pytest.mark.parametrize(
    "stream",
    choice(
        lambda stream: stream.dialect in SURFACES and stream.id in ONE_PER_PROVIDER and stream.record["bytes"] < 200_000
    ),
)
async def test_69_byte_by_byte_as_well(scene: Scene, stream: Stream) -> None:
    data = stream.read()
    await relay(scene, stream, replay(data, bytewise), secure=False, asked=True)
    await relay(scene, stream, replay(data).recut(bytewise), secure=True, asked=False)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def within(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Inside]:
    async with inside(tmp_path_factory.mktemp("within")) as running:
        yield running


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("stream", choice(lambda stream: stream.dialect not in SURFACES))
async def test_dialects_without_an_endpoint_are_relayed_by_the_same_path(
    within: Inside, stream: Stream, secure: bool
) -> None:
    for script in cuts(stream, stream.read()):
        answer, row = await within.play(stream.dialect, script, secure=secure)
        assert (answer.status, answer.body, answer.whole) == (200, stream.read(), True)
        if stream.dialect in ("gemini", "cohere"):
            assert_counted(row, stream)
        else:
            assert (row["status"], row["error_code"], row["usage"]["reported"]) == (200, "", [])


async def test_the_table_names_recorded_streams() -> None:
    assert {stream.id for stream in EVERY} >= ADDED.keys() | FAILED
    assert len(EVERY) == len({stream.id for stream in EVERY})
