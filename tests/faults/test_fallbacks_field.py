"""The body's `fallbacks` on a mount that consumes them: who is asked, what goes up, and what is skipped and counted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from msgspec.structs import replace
import pytest
import pytest_asyncio
from tests.kit.client import Answer, chat
from tests.kit.inside import Inside, inside
from tests.kit.pairs import refusal
from tests.kit.words import ANSWER

from sluicegate.demo.scripts import json_answer
from sluicegate.web import app
from sluicegate.web.profiles import PROFILES

OURS: dict[str, Any] = {
    "upstreams": {"other": {"dialect": "anthropic", "base_url": "http://127.0.0.1:9/v1"}},
    "keys": [{"name": "tests", "key": "sk-test-key", "models": ["plain/*", "secure/*", "other/*"]}],
    "mounts": [{"prefix": "/v1", "profile": "openai"}, {"prefix": "/kept", "profile": "transparent"}],
}


@pytest_asyncio.fixture
async def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Inside]:
    """`/v1` consumes `fallbacks`, `/kept` does not."""
    consuming = replace(PROFILES["openai"], consumes_fallbacks=True)
    monkeypatch.setattr(app, "PROFILES", {**PROFILES, "openai": consuming})
    async with inside(tmp_path, **OURS) as running:
        yield running


async def ask(gateway: Inside, fallbacks: object, *, path: str = "/v1/chat/completions") -> Answer:
    """Ask for a model whose upstream fails."""
    gateway.upstream.script("first", refusal(503))
    return await gateway.ask(chat("plain/first", fallbacks=fallbacks), path=path)


async def test_104_a_fallback_is_asked_by_its_own_name_and_never_told_of(gateway: Inside) -> None:
    gateway.secure.script("second", json_answer(ANSWER))
    answer = await ask(gateway, ["secure/second"])
    row = await gateway.row(id=answer.id)
    assert (answer.status, answer.body, answer.header("x-sluicegate-attempts")) == (200, ANSWER, "2")
    sent = [gateway.upstream.requests[-1].json, gateway.secure.requests[-1].json]
    assert sent == [chat("first"), chat("second")]
    assert (row["model"], row["requested_model"], row["target"]) == ("plain/*", "plain/first", "secure/*")
    labels = {"model": "plain/*", "from": "plain/*", "to": "secure/*", "reason": "upstream_overloaded"}
    assert (await gateway.metrics()).get("sluicegate_fallbacks_total", **labels) == 1


async def test_104_a_request_that_succeeds_does_not_send_them_up_either(gateway: Inside) -> None:
    gateway.upstream.script("fine", json_answer(ANSWER))
    assert (await gateway.ask(chat("plain/fine", fallbacks=["secure/second"]))).status == 200
    assert gateway.upstream.requests[-1].json == chat("fine")
    assert gateway.secure.requests == []


SKIPPED: dict[str, tuple[list[str], str]] = {
    "unknown": (["no-such-model"], "unknown_model"),
    "not the key's": (["named/x"], "not_allowed"),
    "another dialect": (["other/x"], "other_dialect"),
    "too many": (["plain/first"] * 17, "too_many"),
}


@pytest.mark.parametrize("name", SKIPPED)
async def test_104_what_cannot_be_is_skipped_and_counted(gateway: Inside, name: str) -> None:
    fallbacks, reason = SKIPPED[name]
    answer = await ask(gateway, fallbacks)
    assert (answer.status, answer.header("x-sluicegate-attempts")) == (503, "1")
    assert (await gateway.metrics()).get("sluicegate_fallbacks_skipped_total", model="plain/*", reason=reason) == 1
    assert len(gateway.upstream.requests) == 1


@pytest.mark.parametrize("fallbacks", ["secure/second", [1], {"a": 1}])
async def test_104_what_is_no_list_of_names_is_refused(gateway: Inside, fallbacks: object) -> None:
    answer = await ask(gateway, fallbacks)
    assert (answer.status, answer.error["code"], answer.error["param"]) == (400, "invalid_type", "fallbacks")
    assert gateway.upstream.requests == []


async def test_104_elsewhere_it_is_an_unknown_member_and_goes_up(gateway: Inside) -> None:
    answer = await ask(gateway, ["secure/second"], path="/kept/chat/completions")
    assert (answer.status, gateway.secure.requests) == (503, [])
    assert gateway.upstream.requests[-1].json == chat("first", fallbacks=["secure/second"])
