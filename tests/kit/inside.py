"""The gateway inside the test's own process, for what no configuration can ask for: ways in that only tests need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
import json
import os
from pathlib import Path
import socket
from typing import Any

from tests.kit.client import Answer
from tests.kit.gateway import Serving, configuration

from sluicegate.config import Facts, facts, load
from sluicegate.demo.scripts import Script
from sluicegate.demo.tls import make_authority
from sluicegate.demo.upstream import Upstream
from sluicegate.exchange import Endpoint
from sluicegate.telemetry.gathered import Gathered
from sluicegate.telemetry.metrics import Metrics
from sluicegate.web import app, profiles

#: Dialects that are relayed but have no endpoint yet, and what stands for whatever no table knows.
RELAYED = ("gemini", "cohere", "unknown")
ENDPOINTS = tuple(Endpoint(name=name, operation="chat", dialect=name, path=f"/{name}") for name in RELAYED)


class Inside(Serving):
    """A gateway with an endpoint for each of `RELAYED`, and its upstreams."""

    def __init__(self, listen: int, admin: int, upstream: Upstream, secure: Upstream) -> None:
        self.url, self.admin = f"http://127.0.0.1:{listen}", f"http://127.0.0.1:{admin}"
        self.upstream = upstream
        self.secure = secure
        self._upstreams = {"plain": upstream, "secure": secure}
        self._numbers = count()

    async def play(self, dialect: str, script: Script, *, secure: bool) -> tuple[Answer, dict[str, Any]]:
        """Ask for a stream of this dialect; gives the answer and its row."""
        by, name = "secure" if secure else "plain", f"m-{next(self._numbers)}"
        self._upstreams[by].script(name, script)
        way = dialect if dialect in RELAYED else "unknown"
        answer = await self.ask({"model": f"{by}/{name}", "stream": True}, path=f"/v1/{way}")
        return answer, await self.row(id=answer.id)


class Alone:
    """The operations of one application that nobody supervises."""

    ready = True

    def __init__(self, running: app.App, metrics: Metrics) -> None:
        self._app = running
        self._gathered = Gathered()
        self._gathered.add(metrics.bank, os.getpid())

    async def exposition(self) -> bytes:
        self._app.refresh()
        return self._gathered.exposition()

    async def report(self, name: str) -> bytes:
        return self._app.reports[name]()

    async def order(self, name: str, body: bytes) -> bytes:
        return await asyncio.to_thread(self._app.orders[name], body)

    async def reload(self) -> Facts:
        raise NotImplementedError


@asynccontextmanager
async def inside(folder: Path, **settings: Any) -> AsyncIterator[Inside]:
    """Such a gateway, serving until the block's end. `named/*` and `claude/*` lead to the plain upstream,
    by the name `named.test` and in another dialect."""
    authority = make_authority(folder)
    async with Upstream() as upstream, Upstream(tls=authority.server_context()) as secure:
        upstreams = {
            "plain": {"dialect": "openai", "base_url": upstream.base_url},
            "secure": {"dialect": "openai", "base_url": secure.base_url, "ca_file": str(authority.ca_file)},
        }
        upstreams["claude"] = {"dialect": "anthropic", "base_url": upstream.base_url}
        upstreams["named"] = {"dialect": "openai", "base_url": f"http://named.test:{upstream.port}/v1"}
        upstreams |= settings.pop("upstreams", {})
        models = {f"{name}/*": {"targets": [{"upstream": name, "model": "*"}]} for name in upstreams}
        file = folder / "inside.json"
        file.write_text(json.dumps(configuration(upstreams, models, **settings)), encoding="utf-8")
        with socket.create_server(("127.0.0.1", 0)) as clients, socket.create_server(("127.0.0.1", 0)) as admins:
            loaded = load(file, {})
            metrics = Metrics()
            running = await app.start(loaded, [clients], metrics, None, (*profiles.ENDPOINTS, *ENDPOINTS))
            admin = await app.start_admin(Alone(running, metrics), facts(loaded), [admins])
            yield Inside(clients.getsockname()[1], admins.getsockname()[1], upstream, secure)
            running.begin_drain()
            await running.stop_accepting()
            assert await running.drained(5)
            await running.close()
            await admin.close()
