"""What operators do meanwhile."""

from __future__ import annotations

from tests.soak.app import SESSION
from tests.soak.scene import Scene, fault


@fault("operator")
async def pause_and_resume(scene: Scene) -> None:
    async with scene.servers:
        await _operate(scene, "pause")
    await scene.wait(0.0, SESSION)
    async with scene.servers:
        await _operate(scene, "resume")


@fault("operator")
async def reset(scene: Scene) -> None:
    """An operator sets the checkpoint of a processor back while its workers run."""
    async with scene.servers:
        await _operate(scene, "reset", "--start", "0", "--execute")


async def _operate(scene: Scene, *arguments: str) -> None:
    command, *options = arguments
    code = await scene.cast.operate("processor", command, *options, "tests.soak.app:audit")
    if code != 0:
        raise AssertionError(f"runnel processor {command} ended with {code}")
