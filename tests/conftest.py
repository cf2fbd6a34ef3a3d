"""A scene per module; what its gateway is configured with beside the usual stands in the module's SETTINGS."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.kit.scene import Scene
from tests.kit.scene import scene as a_scene


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    folder = tmp_path_factory.mktemp(request.module.__name__.rpartition(".")[2])
    async with a_scene(folder, **getattr(request.module, "SETTINGS", {})) as running:
        yield running
