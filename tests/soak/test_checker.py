"""The checker finds each kind of violation in a history."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.soak.checker import check
from tests.soak.history import Effect, History, Later, Look, Sent

BUDGET = 2


def valid_history() -> History:
    """Six events of two keys; the worker that takes over after a kill repeats one. Each is counted
    and emitted once."""
    history = History(("book", "settle"), second=("settle",))
    history.sent = [Sent("ab"[index % 2], index // 2 + 1, 0, (index, 0)) for index in range(1, 7)]
    for index, sent in enumerate(history.sent):
        worker, epoch = ("w1", 10) if index < 3 else ("w2", 20)
        history.effects.append(effect(sent, epoch, index + (index >= 3), worker))
    history.effects.append(effect(history.sent[2], 20, 3, "w2"))
    history.looks = [observation(10, 2, 2), observation(20, 3, 3), observation(20, 6, 6)]
    history.logs = {0: [sent.id for sent in history.sent]}
    for index, sent in enumerate(history.sent):
        emitted = effect(sent, 10, 20 + index, "w1")
        history.effects.append(
            emitted._replace(processor="settle", id=(20 + index, 0), partition=index % 2)
        )
    history.tables = {"sums": {"a": 9, "b": 6}, "counts": {"1": 1, "2": 2, "3": 2, "4": 1}}
    return history


def effect(sent: Sent, epoch: int, at: float, worker: str) -> Effect:
    return Effect("book", 0, sent.key, sent.number, sent.id, epoch, at, at + 0.5, worker)


def observation(epoch: int, checkpoint: int, processed: int) -> Look:
    return Look("book", 0, epoch, (checkpoint, 0), processed, lost=0, added=6, lag=0)


def violations(history: History, lossy: bool = False) -> list[str]:
    return check(history, strict=["book"], budget=BUDGET, lossy=lossy).violations


def test_a_valid_history_has_no_violations() -> None:
    verdict = check(valid_history(), strict=["book"], budget=BUDGET)
    assert verdict.violations == []
    assert (verdict.duplicates, verdict.most_repeated, verdict.takeovers) == (1, 1, 1)


def remove(history: History, index: int) -> None:
    """Remove one effect."""
    del history.effects[index]


def move(history: History, index: int, to: float) -> None:
    """Move an effect to another time."""
    old = history.effects[index]
    history.effects[index] = old._replace(start=to, end=to + 0.5)


def repeat(history: History, index: int, epoch: int, at: float, worker: str = "w1") -> None:
    """Repeat an effect."""
    again = history.effects[index]._replace(epoch=epoch, start=at, end=at + 0.1, worker=worker)
    history.effects.append(again)


def repeat_each(history: History, which: tuple[int, ...], epoch: int, at: float) -> None:
    for index in which:
        repeat(history, index, epoch, at + index)


def settle_again(history: History, **changes: object) -> None:
    """Another event of the second stage."""
    last = history.effects[-1]._replace(id=(30, 0), start=30.0, end=30.1)
    history.effects.append(last._replace(**changes))  # type: ignore[arg-type]


def swap_emitted(history: History) -> None:
    """The events of the key `b` arrive in the wrong order at the second stage."""
    first, last = history.effects[7], history.effects[11]
    history.effects[7] = first._replace(number=last.number)
    history.effects[11] = last._replace(number=first.number)


def change_sent(history: History, index: int, **changes: object) -> None:
    history.sent[index] = history.sent[index]._replace(**changes)  # type: ignore[arg-type]


def change_observation(history: History, index: int, **changes: object) -> None:
    history.looks[index] = history.looks[index]._replace(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("corrupt", "message"),
    [
        (lambda h: remove(h, 5), "S4: book never processed"),
        (lambda h: h.logs[0].remove((3, 0)), "is not in the log"),
        (lambda h: change_sent(h, 0, id=(9, 0)), "is before event"),
        (lambda h: change_sent(h, 0, key="z"), "in place of"),
        (lambda h: h.effects.append(h.effects[5]._replace(id=(8, 0), start=9)), "was sent twice"),
        (lambda h: move(h, 5, 3.9), "had finished"),
        (lambda h: repeat(h, 0, 10, 2.6), "follows"),
        (lambda h: repeat(h, 4, 20, 5.1, "w2"), "follows"),
        (lambda h: repeat(h, 4, 20, 9.0, "w3"), "two workers had"),
        (lambda h: repeat_each(h, (1, 2, 3), 30, 8.0), "repeated 3 events"),
        (lambda h: repeat_each(h, (3, 4), 10, 7.0), "after a newer token was used"),
        (lambda h: change_observation(h, 1, epoch=9), "was followed by"),
        (lambda h: change_observation(h, 1, checkpoint=(1, 0)), "was followed by"),
        (lambda h: change_observation(h, 1, checkpoint=(2, 0)), "was followed by"),
        (lambda h: change_observation(h, 2, lost=1), "has lost 1"),
        (lambda h: change_observation(h, 2, lag=-1), "has a lag of -1"),
        (lambda h: change_observation(h, 2, added=7), "committed 6 events, 7 were added"),
        (lambda h: change_observation(h, 2, added=5), "committed 6 events, 5 were added"),
        (lambda h: h.tables["sums"].update(a=7), "table sums has 7 for a, right is 9"),
        (lambda h: h.tables["sums"].pop("b"), "table sums has 0 for b, right is 6"),
        (lambda h: h.tables["sums"].update(c=1), "table sums has 1 for c, right is 0"),
        (lambda h: h.tables["counts"].update({"3": 1}), "counts has 1 for 3, right is 2"),
        (lambda h: remove(h, 12), "settle never got what was emitted for ('a', 4)"),
        (lambda h: settle_again(h, number=9), "got an event that nobody emitted: ('a', 9)"),
        (lambda h: settle_again(h), "event 4 of a was sent twice"),
        (lambda h: swap_emitted(h), "partition 0: b arrived as [3, 2, 1]"),
    ],
)
def test_each_planted_violation_is_found(
    corrupt: Callable[[History], object], message: str
) -> None:
    history = valid_history()
    corrupt(history)
    assert any(message in each for each in violations(history)), violations(history)


def test_losing_an_acknowledged_event_is_a_violation_and_losing_another_is_not() -> None:
    history = valid_history()
    unacknowledged = history.effects[5]._replace(id=(5, 5), start=1.0, end=1.1, epoch=5)
    history.effects.append(unacknowledged)
    change_observation(history, 2, added=5)
    assert violations(history, lossy=True) == []
    remove(history, 5)
    verdict = check(history, strict=["book"], budget=BUDGET, lossy=True)
    assert verdict.lost == {(0, (6, 0))}
    assert any("never processed" in each for each in verdict.violations)


def together() -> History:
    """A history of `consult`, which has two events of different keys at the same time."""
    history = History(("consult",), together={"consult": 2})
    history.sent = [Sent("ab"[index % 2], index // 2 + 1, 0, (index, 0)) for index in range(4)]
    history.effects = [
        effect(sent, 10, index // 2, "w1")._replace(processor="consult")
        for index, sent in enumerate(history.sent)
    ]
    history.tables = {"asked": {"a": 2, "b": 2}}
    return history


def violations_together(history: History) -> list[str]:
    return check(history, strict=["consult"], budget=BUDGET).violations


def test_events_of_different_keys_may_be_handled_at_the_same_time() -> None:
    assert violations_together(together()) == []


@pytest.mark.parametrize(
    ("corrupt", "message"),
    [
        (lambda h: move(h, 2, 0.2), "S3: consult started (2, 0) of partition 0"),
        (lambda h: move(h, 2, 0.2), "S3: consult, partition 0, epoch 10"),
        (lambda h: repeat_each(h, (0, 1, 2), 20, 5.0), "S9: consult"),
        (lambda h: h.tables["asked"].update(a=3), "table asked has 3 for a, right is 2"),
    ],
)
def test_each_kind_of_violation_is_found_there_too(
    corrupt: Callable[[History], None], message: str
) -> None:
    history = together()
    corrupt(history)
    found = violations_together(history)
    assert any(message in each for each in found), found


def later() -> History:
    """A history of `remind`: two events that were due at 100 and at 200 ms."""
    history = History(("remind",), reminder="remind")
    history.later = [Later("a", 1, 0, 100), Later("a", 2, 0, 200)]
    history.effects = [
        effect(Sent("a", number, 0, (due + 1, 0)), 10, number, "w1")._replace(processor="remind")
        for number, due in ((1, 100), (2, 200))
    ]
    history.tables = {"reminded": {"a": 2}}
    return history


def test_events_that_are_sent_for_later_may_come_when_they_are_due() -> None:
    assert violations(later()) == []


def due_at(history: History, index: int, due: int) -> None:
    """Move the due time of an event."""
    history.later[index] = history.later[index]._replace(due=due)


@pytest.mark.parametrize(
    ("corrupt", "message"),
    [
        (lambda h: remove(h, 1), "S4: remind never processed Later(key='a', number=2"),
        (lambda h: due_at(h, 1, 202), "entered partition 0 early: (201, 0) was due at 202"),
        (lambda h: due_at(h, 1, 99), "S3: partition 0 has events due at [100, 99]"),
        (lambda h: h.tables["reminded"].update(a=3), "table reminded has 3 for a, right is 2"),
        (
            lambda h: h.effects.append(h.effects[0]._replace(id=(300, 0))),
            "S6: event 1 of a was sent twice",
        ),
    ],
)
def test_each_kind_of_violation_of_these_is_found(
    corrupt: Callable[[History], None], message: str
) -> None:
    history = later()
    corrupt(history)
    found = violations(history)
    assert any(message in each for each in found), found


def setback() -> History:
    """A history of `charge`: the second of three events had failed, and came last."""
    history = History(("charge",), setback="charge", setback_every=10)
    history.sent = [Sent("a", number, 0, (number, 0)) for number in (9, 10, 11)]
    for at, index in enumerate((0, 2, 1)):
        done = effect(history.sent[index], 10, at, "w1")
        history.effects.append(done._replace(processor="charge"))
    history.tables = {"charged": {"a": 3}}
    return history


def violations_of_setback(history: History) -> list[str]:
    return check(history, strict=["charge"], budget=BUDGET).violations


def test_an_event_that_had_failed_may_come_later() -> None:
    assert violations_of_setback(setback()) == []


def every(history: History, number: int) -> None:
    """Events of these numbers step aside, and no others."""
    history.setback_every = number


@pytest.mark.parametrize(
    ("corrupt", "message"),
    [
        (lambda h: every(h, 7), "S3: charge started (11, 0) of partition 0"),
        (lambda h: move(h, 1, -5), "S3: charge, partition 0, epoch 10"),
        (lambda h: remove(h, 2), "S4: charge never processed Sent(key='a', number=10"),
        (lambda h: h.tables["charged"].update(a=4), "table charged has 4 for a, right is 3"),
    ],
)
def test_each_kind_of_violation_of_that_is_found(
    corrupt: Callable[[History], None], message: str
) -> None:
    history = setback()
    corrupt(history)
    found = violations_of_setback(history)
    assert any(message in each for each in found), found
