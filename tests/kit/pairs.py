"""One request to a model with two targets, seen from all sides: what each upstream played, and what was left of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
import socket
from typing import Any

from tests.kit.client import Answer, chat
from tests.kit.gateway import Gateway, configuration, eventually
from tests.kit.samples import Samples
from tests.kit.scene import Scene
from tests.kit.words import FIGURES, GOOD

from sluicegate.demo.requests import Received
from sluicegate.demo.scripts import Script, json_answer, respond
from sluicegate.demo.upstream import Upstream

#: Targets for `scene`: `pair/*` leads to the plain upstream and, where that fails, to the secure one.
PAIR = {"pair/*": {"targets": [{"upstream": name, "model": "*"} for name in ("plain", "secure")]}}
#: No retry in place, and rests and waits that are over at once.
HASTE = {"here": 0, "credential_rest": 0.001, "backoff": 0.001, "backoff_max": 0.001}


def refusal(
    status: int, code: str = "oops", message: str = "Something is wrong.", param: str | None = None, **headers: str
) -> Script:
    """An upstream's error answer; underscores in names of headers stand for dashes."""
    error = {"message": message, "type": "server_error", "param": param, "code": code}
    lines = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return json_answer({"error": error}, status=status, headers=lines)


@dataclass
class Fallen:
    """What everybody saw of one request."""

    answer: Answer
    row: dict[str, Any]
    moved: Samples
    primary: list[Received]
    second: list[Received]

    @property
    def attempts(self) -> list[tuple[str, str, int]]:
        """Target, outcome and the upstream's status of each attempt."""
        return [(one["target"], one["outcome"], one["status"]) for one in self.row["attempts"]]

    @property
    def figures(self) -> dict[str, int]:
        """What the decisive attempt's provider reported."""
        return dict(self.row["usage"]["reported"])

    def answered_by_second(self, code: str, status: int, body: bytes = b"".join(GOOD)) -> None:
        """The second target's answer is the caller's, whole, and everybody says so."""
        assert (self.answer.status, self.answer.body, self.answer.whole) == (200, body, True)
        assert self.answer.header("x-sluicegate-attempts") == "2"
        assert self.attempts == [("plain/*", code, status), ("secure/*", "completed", 200)]
        assert [one["decisive"] for one in self.row["attempts"]] == [False, True]
        assert (self.row["status"], self.row["error_code"], self.row["target"]) == (200, "", "secure/*")
        assert (self.figures, self.row["upstream"]) == (FIGURES, "secure")
        labels = {"model": "pair/*", "from": "plain/*", "to": "secure/*", "reason": code}
        assert self.moved.get("sluicegate_fallbacks_total", **labels) == 1
        assert self.moved.get("sluicegate_requests_total", status="200", error_type="", target="secure/*") == 1
        assert len(self.second) == 1

    def refused_by_first(self, code: str, status: int, upstream_status: int) -> None:
        """The first target's error is the caller's, and the second was never asked."""
        assert (self.answer.status, self.row["error_code"]) == (status, code), self.answer.body
        assert self.answer.header("x-sluicegate-attempts") == "1"
        assert self.attempts == [("plain/*", code, upstream_status)]
        assert (len(self.primary), self.second) == (1, [])
        assert self.moved.get("sluicegate_fallbacks_total") == 0
        assert self.moved.get("sluicegate_requests_total", status=str(status), error_type=code) == 1


async def fall(scene: Scene, first: Script, *then: Script, **members: Any) -> Fallen:
    """Ask `pair/*` once, streamed unless `members` say otherwise: the plain upstream plays `first`, the secure `then`.

    Both see the same model name. No connection to the plain upstream is kept before: a reused one that dies would be
    replaced unseen (fault 57).
    """
    name = scene.model(first).partition("/")[2]
    scene.secure.script(name, *(then or (respond(*GOOD),)))
    scene.upstream.drop_connections()
    await eventually(lambda: unconnected(scene), "no connection to the plain upstream")
    before = await scene.gateway.metrics()
    asked = {**chat(f"pair/{name}", stream=True, stream_options={"include_usage": True}), **members}
    answer = await scene.gateway.ask(asked)
    row = await scene.gateway.row(id=answer.id)
    moved = await scene.gateway.metrics() - before
    await scene.serves()
    at = [[request for request in one.requests if request.model == name] for one in (scene.upstream, scene.secure)]
    return Fallen(answer, row, moved, *at)


async def unconnected(scene: Scene) -> bool:
    """Whether the gateway has no connection to the plain upstream."""
    return not (await scene.gateway.metrics()).get("sluicegate_upstream_connections", upstream="plain")


@asynccontextmanager
async def two(folder: Path, first: Upstream | str, second: Upstream, **settings: Any) -> AsyncIterator[Gateway]:
    """A gateway of its own before two upstreams, `a` and `b`; `fast` leads to `m-1` at the first, `m-2` at the second.

    `a` and `b` in `settings` are members of these upstreams, `targets` those of the two targets.
    """
    urls = [one if isinstance(one, str) else one.base_url for one in (first, second)]
    upstreams = {
        name: {"dialect": "openai", "base_url": url, **settings.pop(name, {})}
        for name, url in zip("ab", urls, strict=True)
    }
    more = settings.pop("targets", ({}, {}))
    targets = [{"upstream": "a", "model": "m-1"} | more[0], {"upstream": "b", "model": "m-2"} | more[1]]
    settings = {"timeouts": {"connect": 1}, **settings}
    gateway = Gateway(configuration(upstreams, {"fast": {"targets": targets}}, **settings), folder)
    try:
        await gateway.start()
        yield gateway
        await gateway.stop()
    finally:
        gateway.kill()


@contextmanager
def silent_port(family: socket.AddressFamily = socket.AF_INET) -> Iterator[int]:
    """A port whose connects get no answer: its queue of one is full and nobody accepts."""
    with socket.socket(family) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        try:
            yield port
        finally:
            for filler in fillers:
                filler.close()
