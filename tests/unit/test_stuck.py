"""A report names everything that is still running, with its position in user code."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from runnel.worker import stuck


class Work:
    """A worker that has cut off one task, and runs another."""

    def unfinished(self) -> list[str]:
        return ["task running"]

    def cut_off(self) -> list[str]:
        return ["task running", "task cut off"]


@pytest.fixture
def thread() -> Iterator[threading.Thread]:
    """A thread in user code."""
    end, begun = threading.Event(), threading.Event()

    def busy() -> None:
        begun.set()
        end.wait(60)

    found = threading.Thread(target=busy, name="my-own")
    found.start()
    begun.wait(10)
    yield found
    end.set()
    found.join()


@pytest.mark.usefixtures("thread")
def test_what_is_running_comes_first_then_what_was_cut_off_before() -> None:
    text = stuck.describe(Work(), None)
    assert text.startswith("task running; ")
    assert "thread my-own in busy (test_stuck.py:" in text
    assert text.endswith("(cut off before: task cut off)")


@pytest.mark.usefixtures("thread")
def test_threads_can_be_chosen_by_name() -> None:
    (found,) = stuck.threads(["my-own"])
    assert found.startswith("thread my-own in busy (test_stuck.py:")
    assert stuck.threads(["another"]) == []
