"""``GET {prefix}/models`` in OpenAI's shape: what the caller's key may use, and nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_OWNER = "sluicegate"


def model_list(names: Iterable[str], created: int) -> bytes:
    """Write the list; ``created`` (Unix seconds) is when this gateway started, since nobody tells us more."""
    return json.dumps({"object": "list", "data": [_entry(name, created) for name in names]}).encode()


def one_model(name: str, created: int) -> bytes:
    """Write one model as the list does."""
    return json.dumps(_entry(name, created)).encode()


def _entry(name: str, created: int) -> dict[str, str | int]:
    return {"id": name, "object": "model", "created": created, "owned_by": _OWNER}
