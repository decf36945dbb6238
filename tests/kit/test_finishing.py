"""The end of a trial: how long commands are waited for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from runnel.conformance.finishing import _Progress
from tests.kit.story import KEY, good


def test_patience_begins_when_nothing_goes_on() -> None:
    story = good()
    scene: Any = SimpleNamespace(history=story.history, clock=lambda: story.now)
    progress = _Progress(scene)
    story.wait(5.0)
    assert not progress.over(6.0)
    story.event("3-0")
    story.line("3-0")
    assert not progress.over(4.0)
    story.wait(5.0)
    story.sent(KEY, 3, "3-0")
    assert not progress.over(4.0)
    story.wait(5.0)
    story.line("3-0")
    story.sent(KEY, 3, "3-0")
    assert progress.over(4.0), "what is there already is no progress"
