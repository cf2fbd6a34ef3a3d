"""TLS towards clients: the same answers, and handshakes that do not come to an end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
import ssl
import time

from tests.kit.client import Wire, ask, chat, request_bytes
from tests.kit.gateway import KEY
from tests.kit.scene import scene as a_scene
from tests.kit.words import ANSWER, GOOD, HELLO

from sluicegate.demo.scripts import Wait, json_answer, respond
from sluicegate.demo.tls import make_authority

HEADER = 0.5


async def test_clients_over_tls_get_what_plain_ones_get(tmp_path: Path) -> None:
    folder = tmp_path / "clients"
    folder.mkdir()
    authority = make_authority(folder)
    trusted = ssl.create_default_context(cafile=str(authority.ca_file))
    files = {"cert": str(authority.cert_file), "key": str(authority.key_file)}
    async with a_scene(tmp_path, tls=files, timeouts={"header": HEADER}) as scene:
        assert scene.gateway.url.startswith("https://")
        whole = chat(scene.model(json_answer(ANSWER)))
        assert (await ask(scene.gateway.url, request_bytes(whole, key=KEY), tls=trusted)).body == ANSWER

        stream = chat(scene.model(respond(*GOOD)), stream=True, stream_options={"include_usage": True})
        answer = await ask(scene.gateway.url, request_bytes(stream, key=KEY), tls=trusted)
        assert (answer.status, answer.body, answer.whole) == (200, b"".join(GOOD), True)

        model = scene.model(respond(HELLO, Wait(asyncio.Event())))
        async with Wire(scene.gateway.url, tls=trusted) as wire:
            await wire.send(request_bytes(chat(model, stream=True), key=KEY))
            await wire.until(await wire.head(), b"Hello")
        await scene.requests(model)[0].closed_by_peer(within=1)

        for sent in (b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\nHost: gw\r\n\r\n"):
            await dropped(scene.gateway.url, sent)
        assert "Traceback" not in scene.gateway.log
        answer = await ask(scene.gateway.url, request_bytes(whole, key=KEY), tls=trusted)
        assert answer.status == 200


async def dropped(url: str, sent: bytes) -> None:
    """A connection whose handshake never ends is closed once a head would be late."""
    host, _, port = url.removeprefix("https://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    began = time.monotonic()
    writer.write(sent)
    async with asyncio.timeout(HEADER + 2):
        with suppress(ConnectionResetError):
            await reader.read(-1)
    assert time.monotonic() - began < HEADER + 2
    writer.close()
