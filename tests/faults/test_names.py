"""Faults 51-53 with a resolver of the test's own: names that hang, that have dead addresses, that are not found."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
import socket
from typing import Any

import pytest
import pytest_asyncio
from tests.kit.client import chat
from tests.kit.inside import Inside, inside

NAME = "named.test"


class Resolver:
    """Answers for `named.test` in the place of the machine's, and counts."""

    def __init__(self, machines: Any) -> None:
        self._machines = machines
        self.asked = 0
        self.busy = asyncio.Event()
        self.hang: asyncio.Event | None = None
        self.fails = False
        self.addresses = ["127.0.0.1"]

    async def __call__(self, host: str, port: int, **how: Any) -> Any:
        """Look up as the loop's `getaddrinfo` does."""
        if host != NAME:
            return await self._machines(host, port, **how)
        self.asked += 1
        self.busy.set()
        if self.hang is not None:
            await self.hang.wait()
        if self.fails:
            raise socket.gaierror(socket.EAI_NONAME, "not found")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in self.addresses]


@pytest.fixture
async def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    loop = asyncio.get_running_loop()
    made = Resolver(loop.getaddrinfo)
    monkeypatch.setattr(loop, "getaddrinfo", made)
    return made


@pytest_asyncio.fixture
async def gateway(resolver: Resolver, tmp_path: Path) -> AsyncIterator[Inside]:
    async with inside(tmp_path, timeouts={"connect": 1}) as running:
        yield running


async def test_51_a_name_that_is_not_found_is_a_502_and_looked_up_again(gateway: Inside, resolver: Resolver) -> None:
    resolver.fails = True
    answer = await gateway.ask(chat("named/m"))
    assert (answer.status, answer.error["code"]) == (502, "upstream_name_not_found")
    assert (await gateway.row(id=answer.id))["error_code"] == "upstream_name_not_found"
    resolver.fails = False
    assert (await gateway.ask(chat("named/m"))).status == 200
    assert resolver.asked == 2


async def test_52_a_resolver_that_hangs_costs_its_own_upstream_alone(gateway: Inside, resolver: Resolver) -> None:
    resolver.hang = asyncio.Event()
    stuck = [asyncio.create_task(gateway.ask(chat(f"named/m-{number}"))) for number in range(5)]
    await resolver.busy.wait()
    assert (await gateway.ask(chat("plain/m"))).status == 200
    assert not any(task.done() for task in stuck)
    answers = await asyncio.gather(*stuck)
    assert {(answer.status, answer.error["code"]) for answer in answers} == {(504, "upstream_connect_timeout")}
    assert resolver.asked == 1
    resolver.hang.set()
    assert (await gateway.ask(chat("named/m"))).status == 200
    assert resolver.asked == 1


async def test_52_what_was_found_is_kept(gateway: Inside, resolver: Resolver) -> None:
    for _ in range(5):
        assert (await gateway.ask(chat("named/m"))).status == 200
        gateway.upstream.drop_connections()
    resolver.fails = True
    assert (await gateway.ask(chat("named/m"))).status == 200
    assert resolver.asked == 1


async def test_53_the_second_address_serves_where_the_first_is_dead(gateway: Inside, resolver: Resolver) -> None:
    resolver.addresses = ["127.0.0.2", "127.0.0.1"]
    answer = await gateway.ask(chat("named/m"))
    assert (answer.status, len(gateway.upstream.requests)) == (200, 1)


async def test_53_so_it_does_where_the_first_is_silent(gateway: Inside, resolver: Resolver) -> None:
    port = gateway.upstream.port
    with socket.socket() as silent:
        silent.bind(("127.0.0.3", port))
        silent.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.3", port))
        resolver.addresses = ["127.0.0.3", "127.0.0.1"]
        answer = await gateway.ask(chat("named/m"))
        for filler in fillers:
            filler.close()
    assert answer.status == 200
