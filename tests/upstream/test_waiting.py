"""Waiting for a target: who is let in, who gives up, who is turned away."""

from __future__ import annotations

import asyncio
import time

import pytest

from sluicegate.config import Health
from sluicegate.errors import Draining, Overloaded
from sluicegate.upstream.waiting import Wait, WaitingRoom


class Door:
    """A room before a door that opens at a time, or when it is told to; and how many wait."""

    def __init__(self, *, places: int = 10, patience: float = 30.0, opens_in: float = 600.0) -> None:
        self.waiting = 0
        self.opens_at = time.monotonic() + opens_in
        self.room = WaitingRoom(Health(waiting=places, wait=patience), self._counted)

    async def get(self, name: str = "in", wait: Wait[str] | None = None) -> str:
        return await (wait or self.wait(name)).over()

    def wait(self, name: str = "in") -> Wait[str]:
        return Wait(self.room, lambda now: name if now >= self.opens_at else None, self.due)

    def due(self, now: float) -> float:
        return self.opens_at - now

    def open(self) -> None:
        self.opens_at = 0.0
        self.room.wake()

    async def have_come(self, count: int) -> None:
        while self.waiting != count:  # noqa: ASYNC110  # a turn of the loop each, no time
            await asyncio.sleep(0)

    def _counted(self, by: int) -> None:
        self.waiting += by


async def test_is_let_in_when_it_is_time() -> None:
    door = Door(opens_in=0.05)

    assert "in" == await door.get()

    assert time.monotonic() >= door.opens_at
    assert 0 == door.waiting


async def test_is_let_in_when_woken_in_the_order_of_coming() -> None:
    door, came = Door(), list[str]()

    async def wait(name: str) -> None:
        came.append(await door.get(name))

    async with asyncio.TaskGroup() as group:
        for i in range(5):
            group.create_task(wait(str(i)))
        await door.have_come(5)
        door.open()

    assert (["0", "1", "2", "3", "4"], 0) == (came, door.waiting)


async def test_whoever_finds_nothing_waits_on() -> None:
    door = Door()
    one = asyncio.create_task(door.get())
    await door.have_come(1)

    door.room.wake()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not one.done()

    door.open()
    assert "in" == await one


async def test_patience_has_an_end() -> None:
    door, began = Door(patience=0.05, opens_in=12.0), time.monotonic()

    with pytest.raises(Overloaded) as gave_up:
        await door.get()

    assert ("targets_down", 503, {"retry-after": "12"}) == (
        gave_up.value.code,
        gave_up.value.status,
        gave_up.value.headers,
    )
    assert 0.05 <= time.monotonic() - began < 5
    assert 0 == door.waiting


async def test_the_gateways_end_ends_the_wait() -> None:
    door = Door()
    wait = door.wait()
    one = asyncio.create_task(door.get(wait=wait))
    await door.have_come(1)

    wait.end("gateway_draining")

    with pytest.raises(Draining):
        await one
    assert 0 == door.waiting


async def test_a_full_room_turns_away_and_says_when_to_come_back() -> None:
    door = Door(places=2, opens_in=12.0)
    inside = [asyncio.create_task(door.get()) for _ in range(2)]
    await door.have_come(2)

    with pytest.raises(Overloaded) as turned_away:
        await door.get()

    assert ("targets_queue_full", 503, {"retry-after": "12"}) == (
        turned_away.value.code,
        turned_away.value.status,
        turned_away.value.headers,
    )
    door.open()
    assert ["in", "in"] == await asyncio.gather(*inside)


@pytest.mark.parametrize("then", ["stays shut", "is opened"])
async def test_whoever_leaves_frees_the_place(then: str) -> None:
    door = Door(places=1)
    one = asyncio.create_task(door.get("one"))
    await door.have_come(1)
    if then == "is opened":
        door.open()
    one.cancel()
    with pytest.raises(asyncio.CancelledError):
        await one
    await door.have_come(0)

    two = asyncio.create_task(door.get("two"))
    await door.have_come(1)
    door.open()
    assert "two" == await two


async def test_other_settings_leave_those_inside_alone() -> None:
    door = Door(places=2)
    inside = [asyncio.create_task(door.get()) for _ in range(2)]
    await door.have_come(2)

    door.room.adopt(Health(waiting=1))

    with pytest.raises(Overloaded):
        await door.get()
    door.open()
    assert ["in", "in"] == await asyncio.gather(*inside)
