"""Disks that run full or go read-only, for real: the spool's and the store's, under a gateway that serves."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.kit.books import ask, gateway, outcomes_of, rows_of, store_is, stored, until_refused
from tests.kit.client import Answer
from tests.kit.disks import ext4, tmpfs
from tests.kit.gateway import Gateway, eventually
from tests.kit.words import DONE, FINISH, HELLO, USAGE_EVENT, WORLD

from sluicegate.demo.scripts import Mark, Wait, respond
from sluicegate.demo.upstream import Upstream


class Running:
    """A stream that has begun, and ends when told."""

    def __init__(self, made: Gateway, upstream: Upstream) -> None:
        self._begun, self._go_on = asyncio.Event(), asyncio.Event()
        upstream.next(respond(HELLO, Mark(self._begun), Wait(self._go_on), WORLD, FINISH, USAGE_EVENT, DONE))
        self._answer = asyncio.create_task(ask(made, stream=True))

    async def begun(self) -> None:
        """Its first content is on its way."""
        await asyncio.wait_for(self._begun.wait(), 5)

    async def ends_well(self) -> str:
        """It is answered whole; gives its id."""
        self._go_on.set()
        answer = await self._answer
        assert (answer.status, answer.whole, answer.datas[-1]) == (200, True, b"[DONE]")
        return answer.id


def refused(answer: Answer) -> None:
    """It is what a caller is told whose row cannot be written."""
    assert (503, "ledger_unavailable") == (answer.status, answer.error["code"])
    assert "5" == answer.header("retry-after")


async def late_rows(made: Gateway, *, some: bool) -> None:
    """Ends wait in memory for the disk, or no longer do."""

    async def so() -> bool:
        return (await made.gauges("sluicegate_ledger_late_rows") != [0]) == some

    await eventually(so, f"late rows: {some}", 15)


async def test_a_spools_full_disk_refuses_new_requests_and_loses_no_row(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", "256k") as disk:
        async with gateway(tmp_path, ledger={"folder": str(disk.folder / "spool")}) as (made, upstream):
            served = [(await ask(made)).id]
            running = Running(made, upstream)
            await running.begun()
            disk.fill()
            refused(await until_refused(made, served))
            served.append(await running.ends_well())
            await late_rows(made, some=True)
            refused(await ask(made))

            disk.make_room()
            await late_rows(made, some=False)
            served.append((await ask(made)).id)
            rows = await rows_of(tmp_path, len(served))
            assert [0.0] == await made.gauges("sluicegate_ledger_rows_lost_total")
            await made.stop()

    assert dict.fromkeys(served, "completed") == outcomes_of(rows)


async def test_with_drop_a_spools_full_disk_serves_and_each_row_that_is_lost_is_counted(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", "256k") as disk:
        settings = {"folder": str(disk.folder / "spool"), "when_full": "drop"}
        async with gateway(tmp_path, ledger=settings) as (made, upstream):
            served = [(await ask(made)).id]
            running = Running(made, upstream)
            await running.begun()
            disk.fill()
            for _ in range(5):
                answers = await asyncio.gather(*(ask(made, stream=number % 2 == 0) for number in range(16)))
                assert {200} == {answer.status for answer in answers}
                served += [answer.id for answer in answers]
            served.append(await running.ends_well())
            lost = (await made.metrics()).get("sluicegate_ledger_rows_lost_total", reason="spool")

            disk.make_room()
            await late_rows(made, some=False)
            served.append((await ask(made)).id)
            rows = outcomes_of(await rows_of(tmp_path, int(len(served) - lost)))
            assert [lost] == await made.gauges("sluicegate_ledger_rows_lost_total")
            await made.stop()

    assert lost > 0
    assert (len(served) - lost, {"completed"}) == (len(rows), set(rows.values()))
    assert {served[0], served[-2], served[-1]} <= rows.keys() < set(served)


async def test_a_spools_disk_that_goes_read_only_refuses_and_what_it_holds_is_carried_later(tmp_path: Path) -> None:
    with ext4(tmp_path / "disk", 8) as disk:
        # What was not forced to such a disk before its error is gone, as at a power cut.
        settings = {"folder": str(disk.folder / "spool"), "fsync": "each"}
        async with gateway(tmp_path, ledger=settings) as (made, upstream):
            before = (await ask(made)).id
            await rows_of(tmp_path, 1)
            running = Running(made, upstream)
            await running.begun()
            disk.goes_read_only()
            refused(await ask(made))
            ended = await running.ends_well()
            await late_rows(made, some=True)
            refused(await ask(made, stream=True))
            await made.stop()
            assert "cannot be written: Read-only file system" in made.log
            assert "ends of requests that are lost: 1;" in made.log

            disk.unmount()
            disk.mount()
            await made.start()
            after = (await ask(made)).id
            rows = outcomes_of(await rows_of(tmp_path, 3))
            await made.stop()

    assert {before: "completed", ended: "unknown", after: "completed"} == rows


async def test_the_stores_full_disk_costs_no_request_and_no_row(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", "512k") as disk:
        async with gateway(tmp_path, store=f"sqlite:///{disk.folder / 'rows.db'}") as (made, _):
            served = [(await ask(made)).id]
            disk.fill()

            async def full() -> bool:
                answers = await asyncio.gather(*(ask(made, stream=number % 2 == 0) for number in range(16)))
                assert {200} == {answer.status for answer in answers}
                served.extend(answer.id for answer in answers)
                return await made.gauges("sluicegate_ledger_store_up") == [0]

            await eventually(full, "the store to be full", 20)
            disk.make_room()
            await store_is(made, up=True)
            await made.stop()
        rows = outcomes_of(stored(disk.folder, "rows.db"))

    assert dict.fromkeys(served, "completed") == rows
