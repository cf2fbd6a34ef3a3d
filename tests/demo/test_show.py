"""The show, run as a user runs it."""

from __future__ import annotations

import asyncio
import sys


async def test_demo_once_shows_and_checks_a_streamed_and_a_plain_answer() -> None:
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "sluicegate", "demo", "--once")
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
    async with asyncio.timeout(50):
        shown, complaints = (text.decode() for text in await process.communicate())
    assert (process.returncode, complaints) == (0, "")
    for title in (
        "Streamed, by the openai SDK",
        "The same, not streamed",
        "row (GET /admin/requests)",
        "metrics that moved",
    ):
        assert title in shown
    assert 'sluicegate_tokens_total{model="demo",target="scripted/demo-large",direction="output"' in shown
