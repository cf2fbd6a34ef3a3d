"""A gateway between a client and scripted upstreams, plain and TLS, and what became of one request seen from all sides.

`scene.play(script)` asks once through the gateway for a model of that request's own, so that its row, its request at
the upstream and its metrics can be told from everybody else's; `aftermath` then looks at all of them and proves that
the next request works.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from tests.kit.client import Answer, Wire, chat, request_bytes
from tests.kit.gateway import Gateway, configuration, eventually
from tests.kit.samples import Samples
from tests.kit.words import FIGURES, GOOD

from sluicegate.demo.requests import Received
from sluicegate.demo.scripts import Script, respond
from sluicegate.demo.tls import Authority, make_authority
from sluicegate.demo.upstream import Upstream

UPSTREAM_KEY = "sk-upstream-secret"


@dataclass
class Aftermath:
    """What everybody saw of one request once it was over."""

    row: dict[str, Any]
    moved: Samples
    """By how much each metric moved, from before the request until its row was there."""
    requests: list[Received]
    """What reached the upstream for it."""

    def succeeded(self) -> None:
        """The row and the metrics call it a success with the provider's usage."""
        assert (self.row["status"], self.row["error_code"], self.row["outcome"]) == (200, "", "completed")
        assert (self.reported, self.provenance) == (FIGURES, ("provider", "provider"))
        assert self.moved.get("sluicegate_requests_total", status="200", error_type="") == 1

    def broken_off(self, code: str) -> None:
        """The row and the metrics name the error beside the status that had been sent; nobody tried again."""
        assert (self.row["status"], self.row["error_code"]) == (200, code)
        assert self.row["outcome"] != "completed"
        assert self.moved.get("sluicegate_requests_total", status="200", error_type=code) == 1
        assert len(self.requests) == 1

    @property
    def tokens(self) -> dict[str, int]:
        """The row's tokens."""
        return dict(self.row["usage"]["tokens"])

    @property
    def reported(self) -> dict[str, int]:
        """The figures as the provider said them."""
        return dict(self.row["usage"]["reported"])

    @property
    def provenance(self) -> tuple[str, str]:
        """Where the input's and the output's figure came from."""
        return self.row["usage"]["input_provenance"], self.row["usage"]["output_provenance"]


@dataclass
class Scene:
    """The gateway, the upstreams behind it, and a way to ask."""

    gateway: Gateway
    upstream: Upstream
    secure: Upstream
    authority: Authority
    _numbers: Any = field(default_factory=count)

    def model(self, script: Script | None = None, *more: Script, by: str = "plain") -> str:
        """A model name nobody has used, whose requests meet these scripts at the upstream."""
        name = f"m-{next(self._numbers)}"
        if script is not None:
            (self.secure if by.startswith("secure") else self.upstream).script(name, script, *more)
        return f"{by}/{name}"

    def requests(self, model: str) -> list[Received]:
        """What reached the upstreams for a model."""
        name = model.partition("/")[2]
        return [
            request
            for upstream in (self.upstream, self.secure)
            for request in upstream.requests
            if request.model == name
        ]

    async def play(
        self, script: Script, body: Mapping[str, Any] | None = None, *, by: str = "plain", **how: Any
    ) -> tuple[Answer, Aftermath]:
        """Ask once, streamed unless `body` says otherwise, and look at everything afterwards."""
        model = self.model(script, by=by)
        before = await self.gateway.metrics()
        answer = await self.gateway.ask({**chat(model, stream=True), **(body or {}), "model": model}, **how)
        return answer, await self.aftermath(model, before)

    async def aftermath(self, model: str, before: Samples) -> Aftermath:
        """Wait for the row of the only request for this model; then see that the gateway serves the next one."""
        row = await self.gateway.row(requested_model=model)
        moved = await self.gateway.metrics() - before
        await self.serves()
        return Aftermath(row, moved, self.requests(model))

    async def serves(self) -> None:
        """The next request works: streamed, on a fresh connection, with its usage counted."""
        model = self.model(respond(*GOOD))
        answer = await self.gateway.ask(chat(model, stream=True, stream_options={"include_usage": True}))
        assert (answer.status, answer.body, answer.whole) == (200, b"".join(GOOD), True)

    @asynccontextmanager
    async def streaming(
        self, script: Script, *, by: str = "plain", path: str = "/v1/chat/completions", **members: Any
    ) -> AsyncIterator[tuple[Wire, Answer, str]]:
        """A stream that has begun: the wire, the answer's head, and the model it was asked for."""
        model = self.model(script, by=by)
        async with self.streaming_model(model, path=path, **members) as (wire, answer):
            yield wire, answer, model

    @asynccontextmanager
    async def streaming_model(
        self, model: str, *, path: str = "/v1/chat/completions", **members: Any
    ) -> AsyncIterator[tuple[Wire, Answer]]:
        """A stream that has begun, for a model that has its scripts."""
        async with Wire(self.gateway.url) as wire:
            await wire.send(request_bytes(chat(model, stream=True, **members), key=self.gateway.key, path=path))
            yield wire, await wire.head()

    async def arrived(self, model: str, within: float = 5.0) -> Received:
        """The model's first request at an upstream, as soon as it is there."""

        async def arrived() -> bool:
            return bool(self.requests(model))

        await eventually(arrived, f"a request for {model}", within)
        return self.requests(model)[0]


@asynccontextmanager
async def scene(
    folder: Path, upstream_settings: Mapping[str, Any] | None = None, *, descriptors: int | None = None, **settings: Any
) -> AsyncIterator[Scene]:
    """Two scripted upstreams and a gateway in front of them; `plain/*` and `secure/*` lead to one each.

    `quiet/*` leads to the plain one without asking for usage, `claude/*` as one addresses Anthropic's.
    """
    authority = make_authority(folder)
    async with Upstream() as upstream, Upstream(tls=authority.server_context()) as secure:
        shared = {"dialect": "openai", "api_key": UPSTREAM_KEY, **(upstream_settings or {})}
        upstreams = {
            "plain": {**shared, "base_url": upstream.base_url},
            "secure": {**shared, "base_url": secure.base_url, "ca_file": str(authority.ca_file)},
            "quiet": {**shared, "base_url": upstream.base_url, "usage_request": "never"},
            "claude": {**shared, "base_url": upstream.base_url, "dialect": "anthropic"},
        }
        models = {f"{name}/*": {"targets": [{"upstream": name, "model": "*"}]} for name in upstreams}
        extra = settings.pop("upstreams", {})
        models |= settings.pop("models", {})
        gateway = Gateway(configuration(upstreams | extra, models, **settings), folder, descriptors=descriptors)
        try:
            await gateway.start()
            yield Scene(gateway, upstream, secure, authority)
            await gateway.stop()
        finally:
            gateway.kill()
