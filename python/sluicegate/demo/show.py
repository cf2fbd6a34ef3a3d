"""The show: a scripted upstream over TLS, the gateway in front of it, and the official SDK asking through it.

What is shown is also checked: the text, the usage, the row and the upstream's own record must agree.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
import secrets
import shlex
import signal
import socket
import sys
import tempfile
import textwrap
import time
from typing import TYPE_CHECKING, Any

from openai import AsyncOpenAI, DefaultAsyncHttpxClient, OpenAIError
from openai import __version__ as sdk_version

from sluicegate.demo.answers import TEXT
from sluicegate.demo.gateway import Gateway, GatewayError
from sluicegate.demo.tls import make_authority
from sluicegate.demo.upstream import Upstream

if TYPE_CHECKING:
    from sluicegate.demo.gateway import Series
    from sluicegate.demo.tls import Authority

PACE = 0.04
LIMIT = 60.0
MODEL = "demo"
UPSTREAM_MODEL = "demo-large"
QUESTION = "What does a sluice gate do?"
SHOWN_FAMILIES = ("sluicegate_requests_total", "sluicegate_tokens_total", "sluicegate_bytes_total")


@dataclass(frozen=True)
class Keys:
    """Made up for one show."""

    caller: str
    upstream: str


class ShowError(Exception):
    """Something was not as expected; the message says what."""


@dataclass(frozen=True)
class Told:
    """What the SDK made of one answer."""

    text: str
    finish: str | None
    prompt_tokens: int
    completion_tokens: int


def main(*, once: bool) -> int:
    """Run the show; then, unless `once`, serve until Ctrl-C. Gives the exit code: 0 if all was as expected."""
    try:
        return asyncio.run(_main(once=once))
    except (GatewayError, OpenAIError, ShowError, TimeoutError) as error:
        print(f"\nnot as expected: {str(error) or type(error).__name__}", file=sys.stderr)
        return 1


async def _main(*, once: bool) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    play = asyncio.create_task(_play(once=once))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({play, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if stop.is_set():
        play.cancel()
    with suppress(asyncio.CancelledError):
        await play
    return 0


async def _play(*, once: bool) -> None:
    keys = Keys(caller=f"sk-demo-{secrets.token_hex(16)}", upstream=f"sk-upstream-{secrets.token_hex(16)}")
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sluicegate-demo-")))
        authority = make_authority(folder)
        upstream = Upstream(tls=authority.server_context(), pace=PACE, api_key=keys.upstream)
        await stack.enter_async_context(upstream)
        gateway = await stack.enter_async_context(Gateway(folder, _settings(upstream, authority, keys)))
        _title("Sluicegate")
        print(f"  upstream  {upstream.base_url}  (scripted; TLS; at a human pace)")
        print(f"  gateway   {gateway.listen}/v1  (admin: {gateway.admin})")
        async with asyncio.timeout(LIMIT):
            await _show(gateway, upstream, keys)
        if once:
            return
        _invite(gateway, keys)
        await gateway.ended()


def _settings(upstream: Upstream, authority: Authority, keys: Keys) -> dict[str, Any]:
    target = {"base_url": upstream.base_url, "api_key": keys.upstream, "ca_file": str(authority.ca_file)}
    return {
        "listen": f"127.0.0.1:{_port(8080)}",
        "admin": "127.0.0.1:0",
        "upstreams": {"scripted": {"dialect": "openai", **target}},
        "models": {MODEL: {"targets": [{"upstream": "scripted", "model": UPSTREAM_MODEL}]}},
        "keys": [{"name": "demo", "key": keys.caller}],
    }


def _port(wished: int) -> int:
    """Give the wished port if it is free, else 0: any."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wished))
        except OSError:
            return 0
    return wished


async def _show(gateway: Gateway, upstream: Upstream, keys: Keys) -> None:
    before = await gateway.series()
    http = DefaultAsyncHttpxClient(trust_env=False)  # a proxy of the environment has no business on loopback
    async with AsyncOpenAI(
        base_url=f"{gateway.listen}/v1", api_key=keys.caller, http_client=http, max_retries=0, timeout=LIMIT
    ) as client:
        _title(f"Streamed, by the openai SDK {sdk_version}")
        streamed = await _ask_streamed(client)
        _title("The same, not streamed")
        plain = await _ask_plain(client)
    rows = [row for row in await gateway.rows() if row["requested_model"] == MODEL]
    after = await gateway.series()
    _title("The streamed request's row (GET /admin/requests)")
    row = next((row for row in rows if row["stream"]), None)
    if row is None:
        raise ShowError("there is no row of the streamed request")
    _print_row(row)
    _title("The metrics that moved (GET /metrics)")
    _print_moved(before, after)
    _check(streamed, plain, rows, upstream, keys)


async def _ask_streamed(client: AsyncOpenAI) -> Told:
    print(f"  > {QUESTION}\n")
    begun = time.monotonic()
    stream = await client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": QUESTION}],
        stream=True,
        stream_options={"include_usage": True},
    )
    text, finish, usage, first = "", None, None, None
    writer = _Wrapped()
    async for event in stream:
        usage = event.usage or usage
        for choice in event.choices:
            finish = choice.finish_reason or finish
            if choice.delta.content:
                first = first if first is not None else time.monotonic() - begun
                text += choice.delta.content
                writer.write(choice.delta.content)
    writer.end()
    if usage is None or first is None:
        raise ShowError("the stream brought no content or no usage")
    counted = f"{usage.prompt_tokens} + {usage.completion_tokens} tokens"
    print(f"\n  {finish}; {counted}; first word after {first * 1000:.0f} ms")
    return Told(text, finish, usage.prompt_tokens, usage.completion_tokens)


async def _ask_plain(client: AsyncOpenAI) -> Told:
    begun = time.monotonic()
    answer = await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": QUESTION}])
    choice, usage = answer.choices[0], answer.usage
    if usage is None:
        raise ShowError("the plain answer brought no usage")
    text = choice.message.content or ""
    print(f"  {textwrap.shorten(text, 76, placeholder=' ...')}")
    elapsed = (time.monotonic() - begun) * 1000
    print(f"  {choice.finish_reason}; {usage.prompt_tokens} + {usage.completion_tokens} tokens; after {elapsed:.0f} ms")
    return Told(text, choice.finish_reason, usage.prompt_tokens, usage.completion_tokens)


def _check(streamed: Told, plain: Told, rows: list[dict[str, Any]], upstream: Upstream, keys: Keys) -> None:
    expected = Told(TEXT, "stop", *_usage_by_upstream(upstream))
    for name, told in (("streamed", streamed), ("plain", plain)):
        if told != expected:
            raise ShowError(f"the {name} answer was {told}, the upstream's {expected}")
    counted = {
        (row["usage"]["tokens"]["input"], row["usage"]["tokens"]["output"], row["usage"]["output_provenance"])
        for row in rows
    }
    if counted != {(expected.prompt_tokens, expected.completion_tokens, "provider")}:
        raise ShowError(f"the rows counted {counted}, the upstream {expected}")
    seen = {request.header("authorization") for request in upstream.requests}
    if seen != {f"Bearer {keys.upstream}"}:
        raise ShowError("the upstream was shown another key than its own")


def _usage_by_upstream(upstream: Upstream) -> tuple[int, int]:
    """What the upstream wrote into its last answer, the plain one."""
    usage = upstream.requests[-1].answer_json["usage"]
    return usage["prompt_tokens"], usage["completion_tokens"]


def _print_row(row: dict[str, Any]) -> None:
    usage = row["usage"]
    tokens = usage["tokens"]
    lines = {
        "id": row["id"],
        "caller, model": f"{row['caller']}, {row['requested_model']} -> {row['target']}",
        "status, outcome": f"{row['status']}, {row['outcome']}",
        "tokens in": f"{tokens['input']} ({usage['input_provenance']})",
        "tokens out": f"{tokens['output']} ({usage['output_provenance']})",
        "first content": f"{(row['time_to_first_content'] or 0) * 1000:.1f} ms",
        "bytes to client": f"{row['bytes_out']} in {row['events']} events",
    }
    for name, value in lines.items():
        print(f"  {name:<16} {value}")


def _print_moved(before: Series, after: Series) -> None:
    moved = {name: value for name, value in after.items() if value != before.get(name, 0.0)}
    for name, value in moved.items():
        if name.partition("{")[0] in SHOWN_FAMILIES:
            print(f"  {name}  {before.get(name, 0.0):.0f} -> {value:.0f}")
    print(f"  (and {sum(name.partition('{')[0] not in SHOWN_FAMILIES for name in moved)} more)")


def _invite(gateway: Gateway, keys: Keys) -> None:
    _title("Try it (Ctrl-C ends it)")
    body = f'{{"model":"{MODEL}","stream":true,"messages":[{{"role":"user","content":"Hello"}}]}}'
    print(f"  curl -N {gateway.listen}/v1/chat/completions \\")
    print(f"    -H 'authorization: Bearer {keys.caller}' -H 'content-type: application/json' \\")
    print(f"    -d {shlex.quote(body)}", flush=True)


def _title(text: str) -> None:
    bold = f"\x1b[1m{text}\x1b[0m" if sys.stdout.isatty() else text
    print(f"\n{bold}", flush=True)


class _Wrapped:
    """Writes words as they come, at most 78 columns wide."""

    def __init__(self) -> None:
        self._column = 0

    def write(self, words: str) -> None:
        for word in words.split():
            if self._column + len(word) > 76:  # noqa: PLR2004 - two columns are the margin
                print()
                self._column = 0
            print(" " if self._column else "  ", word, sep="", end="", flush=True)
            self._column += len(word) + 1

    def end(self) -> None:
        print()
