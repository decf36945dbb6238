"""The first loss is logged at once, further ones in one line, and no count is left out."""

from __future__ import annotations

import pytest

from runnel.worker import losses
from runnel.worker.losses import Losses
from tests.worker.workers import until


async def test_the_first_is_logged_at_once_and_what_follows_in_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    found = Losses("reader")
    found.add(3, 1, True, "5-0")
    assert caplog.messages == [
        "processor reader, partition 3: exactly 1 unfinished event has left the stream; "
        "continuing after 5-0"
    ]
    for partition in (3, 4, 4):
        found.add(partition, 20, partition == 3, f"{partition + 5}-0")
    assert len(caplog.messages) == 1
    found.log()
    assert caplog.messages[1:] == [
        "processor reader, partitions 3-4: since the last such line at least 60 unfinished events "
        "have left the stream; continuing after 8-0 (partition 3), 9-0 (partition 4)"
    ]
    found.log()
    assert len(caplog.messages) == 2
    for partition in range(12):
        found.add(partition, 1, True, "9-0")
    found.log()
    assert caplog.messages[3].endswith(", 9-0 (partition 10) and 1 more")


async def test_after_a_pause_what_was_gathered_is_logged_and_a_pause_without_any_ends_it(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "PAUSE", 0.0)
    found = Losses("reader")
    found.add(0, 2, True, "1-0")
    found.add(0, 3, True, "2-0")
    await until(lambda: len(caplog.messages) == 2, "what was gathered is logged")
    assert "partition 0: since the last such line exactly 3 unfinished" in caplog.messages[1]
    await until(lambda: not found.gathering, "no further loss came")
    found.add(1, 4, True, "3-0")
    assert "partition 1: exactly 4 unfinished events have left" in caplog.messages[2]
