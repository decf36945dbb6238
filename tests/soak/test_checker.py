"""The checker finds each way in which a history can be wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.soak.checker import check
from tests.soak.history import Effect, History, Look, Sent

BUDGET = 2


def good() -> History:
    """Six events of two keys; a killed worker's successor repeats one."""
    history = History(("book",))
    history.sent = [Sent("ab"[n % 2], n // 2 + 1, 0, (n, 0)) for n in range(1, 7)]
    for n, sent in enumerate(history.sent):
        worker, epoch = ("w1", 10) if n < 3 else ("w2", 20)
        history.effects.append(effect(sent, epoch, n + (n >= 3), worker))
    history.effects.append(effect(history.sent[2], 20, 3, "w2"))
    history.looks = [look(10, 2, 2), look(20, 3, 3), look(20, 6, 6)]
    history.logs = {0: [sent.id for sent in history.sent]}
    return history


def effect(sent: Sent, epoch: int, at: float, worker: str) -> Effect:
    return Effect("book", 0, sent.key, sent.number, sent.id, epoch, at, at + 0.5, worker)


def look(epoch: int, checkpoint: int, processed: int) -> Look:
    return Look("book", 0, epoch, (checkpoint, 0), processed, lost=0, added=6, lag=0)


def found(history: History, lossy: bool = False) -> list[str]:
    return check(history, strict=["book"], budget=BUDGET, lossy=lossy).violations


def test_a_good_history_is_good() -> None:
    verdict = check(good(), strict=["book"], budget=BUDGET)
    assert verdict.violations == []
    assert (verdict.duplicates, verdict.most_repeated, verdict.takeovers) == (1, 1, 1)


def remove(history: History, n: int) -> None:
    """The effect of one event is missing."""
    del history.effects[n]


def move(history: History, n: int, to: float) -> None:
    """An effect was at another time."""
    old = history.effects[n]
    history.effects[n] = old._replace(start=to, end=to + 0.5)


def repeat(history: History, n: int, epoch: int, at: float, worker: str = "w1") -> None:
    """An effect was made again."""
    again = history.effects[n]._replace(epoch=epoch, start=at, end=at + 0.1, worker=worker)
    history.effects.append(again)


def repeat_each(history: History, which: tuple[int, ...], epoch: int, at: float) -> None:
    for n in which:
        repeat(history, n, epoch, at + n)


def change_sent(history: History, n: int, **changes: object) -> None:
    history.sent[n] = history.sent[n]._replace(**changes)  # type: ignore[arg-type]


def change_look(history: History, n: int, **changes: object) -> None:
    history.looks[n] = history.looks[n]._replace(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("plant", "says"),
    [
        (lambda h: remove(h, 5), "S4: book never processed"),
        (lambda h: h.logs[0].remove((3, 0)), "is not in the log"),
        (lambda h: change_sent(h, 0, id=(9, 0)), "stands before event"),
        (lambda h: change_sent(h, 0, key="z"), "in place of"),
        (lambda h: h.effects.append(h.effects[5]._replace(id=(8, 0), start=9)), "was sent twice"),
        (lambda h: move(h, 5, 3.9), "was through"),
        (lambda h: repeat(h, 0, 10, 2.6), "follows"),
        (lambda h: repeat(h, 4, 20, 5.1, "w2"), "follows"),
        (lambda h: repeat(h, 4, 20, 9.0, "w3"), "two workers had"),
        (lambda h: repeat_each(h, (1, 2, 3), 30, 8.0), "repeated 3 events"),
        (lambda h: repeat_each(h, (3, 4), 10, 7.0), "after a newer token was used"),
        (lambda h: change_look(h, 1, epoch=9), "was followed by"),
        (lambda h: change_look(h, 1, checkpoint=(1, 0)), "was followed by"),
        (lambda h: change_look(h, 1, checkpoint=(2, 0)), "was followed by"),
        (lambda h: change_look(h, 2, lost=1), "has lost 1"),
        (lambda h: change_look(h, 2, lag=-1), "has a lag of -1"),
        (lambda h: change_look(h, 2, added=7), "committed 6 events, 7 were added"),
        (lambda h: change_look(h, 2, added=5), "committed 6 events, 5 were added"),
    ],
)
def test_each_planted_fault_is_found(plant: Callable[[History], object], says: str) -> None:
    history = good()
    plant(history)
    assert any(says in each for each in found(history)), found(history)


def test_what_a_failover_took_back_is_no_fault_but_what_was_acknowledged_is() -> None:
    history = good()
    unacknowledged = history.effects[5]._replace(id=(5, 5), start=1.0, end=1.1, epoch=5)
    history.effects.append(unacknowledged)
    change_look(history, 2, added=5)
    assert found(history, lossy=True) == []
    remove(history, 5)
    verdict = check(history, strict=["book"], budget=BUDGET, lossy=True)
    assert verdict.lost == {(0, (6, 0))}
    assert any("never processed" in each for each in verdict.violations)
