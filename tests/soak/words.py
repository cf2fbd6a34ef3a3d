"""What the soak's upstreams say of usage: other figures in each answer, and a note of what was said."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
import json
import random

from tests.kit.exact import Figures
from tests.kit.words import DONE, FINISH, HELLO, WORLD, event
from typing_extensions import override

from sluicegate.demo.scripts import JSON, Mark, Piece, Script, respond


def some(chance: random.Random) -> Figures:
    """Any figures; one input in two is above the tier of the prices."""
    given, taken = chance.randint(4, 200_000), chance.randint(1, 5_000)
    return Figures(given, taken, chance.randint(0, given // 2), chance.randint(0, given // 4), chance.randint(0, taken))


def written(figures: Figures) -> str:
    """Figures as OpenAI writes them."""
    return json.dumps(
        {
            "prompt_tokens": figures.input,
            "completion_tokens": figures.output,
            "total_tokens": figures.input + figures.output,
            "prompt_tokens_details": {
                "cached_tokens": figures.cached_input,
                "cache_write_tokens": figures.cache_write,
            },
            "completion_tokens_details": {"reasoning_tokens": figures.reasoning},
        }
    )


class _Said(asyncio.Event):
    """Tells what has been said as soon as it has left the script."""

    def __init__(self, figures: Figures, tell: Callable[[Figures], None]) -> None:
        super().__init__()
        self._figures = figures
        self._tell = tell

    @override
    def set(self) -> None:
        self._tell(self._figures)
        super().set()


class Words:
    """The words of one answer; ``tell`` hears each usage that was written to the socket."""

    def __init__(self, chance: random.Random, tell: Callable[[Figures], None]) -> None:
        self._figures = some(chance)
        self._tell = tell

    @property
    def usage(self) -> tuple[Piece, ...]:
        """The usage event."""
        said = (
            'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[],'
            f'"usage":{written(self._figures)}}}\n\n'
        )
        return (said.encode(), self._mark(self._figures))

    @property
    def early(self) -> tuple[Piece, ...]:
        """An event of content that says what was used until now."""
        figures = self._figures._replace(output=1, reasoning=0)
        return (event("Hello", usage=written(figures)), self._mark(figures))

    @property
    def good(self) -> tuple[Piece, ...]:
        """A stream that ends well."""
        return (HELLO, WORLD, FINISH, *self.usage, DONE)

    def whole(self) -> Script:
        """An answer that is no stream."""
        body = (
            '{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m-1","choices":[{"index":0,"message":'
            f'{{"role":"assistant","content":"Hello"}},"finish_reason":"stop"}}],"usage":{written(self._figures)}}}'
        )
        return respond(body.encode(), self._mark(self._figures), content_type=JSON, framing="length")

    def _mark(self, figures: Figures) -> Mark:
        return Mark(_Said(figures, self._tell))
