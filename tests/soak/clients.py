"""How the soak's clients behave: each asks once (some twice) and tells what it was told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
import json
import random
import socket
from typing import Any

from tests.kit.client import Answer, Wire, chat, request_bytes

#: Seconds that a resting client waits for the gateway to give it up.
PATIENCE = 20.0
TCP_CLOSE = 7


@dataclass(frozen=True)
class Ask:
    """A request to be made: where, with which key, for which model, under which ids."""

    url: str
    key: str
    model: str
    ids: tuple[str, ...]
    stream: bool
    chance: random.Random
    arrived: Callable[[str], Awaitable[None]]
    """Waits until the upstream has the request with an id."""

    def request(self, number: int = 0, body: Any = None, **how: Any) -> bytes:
        """The request as bytes; its id is the gateway's and the upstream's to repeat."""
        members = {"stream_options": {"include_usage": True}} if self.stream else {}
        said = chat(self.model, stream=self.stream, **members) if body is None else body
        ident = self.ids[number]
        headers = [("X-Request-Id", ident), ("X-Client-Request-Id", ident)]
        return request_bytes(said, **({"key": self.key, "headers": headers} | how))


Told = tuple[int, str] | None
"""The status and the error code that a client was told; None if it was cut off, or left."""
Behaviour = Callable[[Ask], Awaitable[list[Told]]]


def told(answer: Answer) -> Told:
    """What an answer says; an answer that ended before its framing did says nothing."""
    if not answer.whole:
        return None
    if answer.header("content-type") == "application/json":
        return answer.status, "" if answer.status == 200 else answer.error["code"]
    last = answer.datas[-1]
    return answer.status, "" if last == b"[DONE]" else json.loads(last)["error"]["code"] or "upstream_error_in_band"


async def reads(ask: Ask) -> list[Told]:
    """Ask and read to the end."""
    async with Wire(ask.url) as wire:
        await wire.send(ask.request())
        return [told(await wire.answer())]


async def keeps(ask: Ask) -> list[Told]:
    """Ask twice on one connection, one after the other."""
    async with Wire(ask.url) as wire:
        answers = []
        for number in range(2):
            await wire.send(ask.request(number))
            answers.append(told(await wire.answer()))
        return answers


async def pipelines(ask: Ask) -> list[Told]:
    """Ask twice at once on one connection."""
    async with Wire(ask.url) as wire:
        await wire.send(ask.request(0) + ask.request(1))
        return [told(await wire.answer()), told(await wire.answer())]


async def reads_slowly(ask: Ask) -> list[Told]:
    """Read in small bites with rests between them."""
    async with Wire(ask.url, receive_buffer=32768) as wire:
        await wire.send(ask.request())
        answer = await wire.head()
        body = bytearray()
        while size := int((await wire.reader.readline()).strip() or b"0", 16):
            body += (await wire.reader.readexactly(size + 2))[:-2]
            await asyncio.sleep(0.01)
        answer.gathered, answer.whole = body, True
        return [told(answer)]


async def leaves_at_the_end(ask: Ask) -> list[Told]:
    """Leave as soon as the sentinel is there."""
    async with Wire(ask.url) as wire:
        await wire.send(ask.request())
        answer = await wire.head()
        await wire.until(answer, b"[DONE]")
        wire.close()
        return [(answer.status, "")]


async def stalls(ask: Ask) -> list[Told]:
    """Read the head, then nothing until the gateway has given up."""
    async with Wire(ask.url, receive_buffer=4096) as wire:
        await wire.send(ask.request())
        await wire.head()
        # Whoever does not read does not hear of a reset either; the kernel knows.
        raw = wire.writer.get_extra_info("socket")
        async with asyncio.timeout(PATIENCE):
            while raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != TCP_CLOSE:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        wire.reset()
        return [None]


async def leaves_once_asked(ask: Ask) -> list[Told]:
    """Close once the upstream has the request."""
    async with Wire(ask.url) as wire:
        await wire.send(ask.request())
        await ask.arrived(ask.ids[0])
        wire.close()
        return [None]


async def resets_once_asked(ask: Ask) -> list[Told]:
    """Reset once the upstream has the request."""
    async with Wire(ask.url) as wire:
        await wire.send(ask.request())
        await ask.arrived(ask.ids[0])
        wire.reset()
        return [None]


async def leaves_inside(ask: Ask) -> list[Told]:
    """Close after the first event."""
    async with Wire(ask.url) as wire:
        await wire.send(ask.request())
        await wire.piece(await wire.head())
        wire.close()
        return [None]


async def resets_inside(ask: Ask) -> list[Told]:
    """Reset while events come as fast as they can."""
    async with Wire(ask.url) as wire:
        await wire.send(ask.request())
        answer = await wire.head()
        for _ in range(10):
            await wire.piece(answer)
        wire.reset()
        return [None]


async def leaves_somewhere(ask: Ask) -> list[Told]:
    """Leave at any moment, FIN or RST."""
    async with Wire(ask.url) as wire:
        await wire.send(ask.request())
        await asyncio.sleep(ask.chance.random() * 0.5)
        ask.chance.choice((wire.close, wire.reset))()
        return [None]


async def sends_half(ask: Ask) -> list[Told]:
    """Leave inside the body."""
    async with Wire(ask.url) as wire:
        await wire.send(ask.request()[:-9])
        await asyncio.sleep(ask.chance.random() * 0.1)
        wire.reset()
        return [None]


async def has_a_wrong_key(ask: Ask) -> list[Told]:
    """Ask with a key nobody knows."""
    return await _says(ask, ask.request(key="sk-nobody-knows"))


async def sends_no_json(ask: Ask) -> list[Told]:
    """Send a body that is no JSON."""
    return await _says(ask, ask.request(body=b'{"model": oops}'))


async def asks_for_the_unknown(ask: Ask) -> list[Told]:
    """Ask for a model that is not configured."""
    return await _says(ask, ask.request(body=chat("nobody/knows")))


async def announces_too_much(ask: Ask) -> list[Told]:
    """Announce a body above the limit and wait for the answer."""
    return await _says(ask, ask.request(body=b"").replace(b"Content-Length: 0", b"Content-Length: 99999999999"))


async def sends_no_http(ask: Ask) -> list[Told]:
    """Send what is no HTTP."""
    return await _says(ask, b"EHLO gateway\r\n\r\n")


async def asks_elsewhere(ask: Ask) -> list[Told]:
    """Ask for a path that is not there."""
    return await _says(ask, ask.request(path="/v2/chat"))


async def sends_half_a_head(ask: Ask) -> list[Told]:
    """Send half a head and wait."""
    return await _says(ask, ask.request()[:40])


async def says_nothing(ask: Ask) -> list[Told]:
    """Connect and wait."""
    async with Wire(ask.url) as wire:
        await wire.closed_by_server(within=PATIENCE)
        return [None]


async def _says(ask: Ask, sent: bytes) -> list[Told]:
    async with Wire(ask.url) as wire:
        await wire.send(sent)
        return [told(await wire.answer())]
