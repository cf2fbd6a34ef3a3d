"""Many streams at once through one gateway, which run until they are told to end; and which process has which."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from tests.kit.client import Answer, Wire, chat, request_bytes
from tests.kit.scene import Scene
from tests.kit.words import DONE, FINISH, HELLO, USAGE_EVENT, WORLD

from sluicegate.demo.scripts import Wait, respond

#: Streams that are opened at the same time.
_AT_ONCE = 100


class Crowd:
    """Streams that have begun, and their answers so far."""

    def __init__(self, go_on: asyncio.Event) -> None:
        self._go_on = go_on
        self.streams: list[tuple[Wire, Answer]] = []

    def finish(self) -> None:
        """Let the upstream end every stream."""
        self._go_on.set()

    async def answers(self) -> list[Answer]:
        """Read every stream to its end, whatever end that is."""
        return list(await asyncio.gather(*(wire.rest(answer) for wire, answer in self.streams)))

    def of(self, pid: int) -> list[Answer]:
        """The streams whose connections a process has accepted."""
        inodes = set(_sockets(pid))
        ports = {client for client, inode in _accepted() if inode in inodes}
        return [answer for wire, answer in self.streams if wire.writer.get_extra_info("sockname")[1] in ports]


@asynccontextmanager
async def crowd(scene: Scene, count: int) -> AsyncIterator[Crowd]:
    """So many streams, each with its first content at its client, until the block's end."""
    go_on = asyncio.Event()
    model = scene.model(respond(HELLO, Wait(go_on), WORLD, FINISH, USAGE_EVENT, DONE))
    sent = request_bytes(chat(model, stream=True, stream_options={"include_usage": True}), key=scene.gateway.key)
    gate = asyncio.Semaphore(_AT_ONCE)
    made = Crowd(go_on)
    async with AsyncExitStack() as stack:

        async def begin() -> None:
            async with gate:
                wire = await stack.enter_async_context(Wire(scene.gateway.url))
                await wire.send(sent)
                answer = await wire.head()
                assert answer.status == 200, (await wire.rest(answer)).body
                await wire.until(answer, b"Hello")
                made.streams.append((wire, answer))

        await asyncio.gather(*(begin() for _ in range(count)))
        yield made
        go_on.set()


def complete(answers: Iterable[Answer]) -> int:
    """How many have everything the upstream sent, to the end."""
    expected = b"".join((HELLO, WORLD, FINISH, USAGE_EVENT, DONE))
    return sum(answer.whole and answer.body == expected for answer in answers)


def _sockets(pid: int) -> list[int]:
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        target = str(entry.readlink())
        if target.startswith("socket:["):
            found.append(int(target[8:-1]))
    return found


def _accepted() -> list[tuple[int, int]]:
    """Of every TCP socket of this machine: the port it is connected with, and its inode."""
    rows = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    return [(int(fields[2].rpartition(":")[2], 16), int(fields[9])) for fields in map(str.split, rows)]
