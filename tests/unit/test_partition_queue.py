"""What is handed out, and when: in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from runnel.core.partition import PartitionState
from runnel.delivery.partition_queue import PartitionQueue
from runnel.delivery.recorded_start_lock import LONGEST_WAIT, RecordedStartLock
from runnel.delivery.session import Session
from runnel.errors import WorkerDied
from runnel.protocol import ClaimReply, PartitionKeys, Token
from tests.simulation.loop import Process, SimLoop


class Stage:
    """A loop, a session, a turn, and leases that record what they do."""

    def __init__(self) -> None:
        self.loop = SimLoop()  # type: ignore[abstract]
        self.session = Session(self.loop.time)
        self.turn = RecordedStartLock()
        self.told: list[str] = []
        self.process = Process("it")

    def queue(self, *ids: bytes, tenures: int = 0, deaths: int = 0) -> PartitionQueue:
        first = ids[0].decode() if ids else ""
        event = first if deaths else ""
        claimed = ClaimReply(
            7, "0-0", 0, deaths, event, tenures, False, False, None, True, False, first, deaths
        )
        state = PartitionState(
            len(self.told), PartitionKeys("p", "work"), 1, Token(7, "n"), claimed
        )
        wanted = state.wants(10)
        assert wanted
        state.read(wanted, [(each, [b"f", b"v"]) for each in ids], anchor=False)

        async def record_start(state: PartitionState, event: str) -> None:
            self.told.append(f"started {event}")
            await asyncio.sleep(1)

        def mark(state: PartitionState) -> None:
            step = state.next_commit()
            if step:
                state.committed(step)

        return PartitionQueue(
            state,
            commit_each=False,
            prefetch=10,
            retries=3,
            session=self.session,
            turn=self.turn,
            mark=mark,
            wake=lambda state: None,
            record_start=record_start,
        )

    def take(
        self,
        name: str,
        queue: PartitionQueue,
        within: float | None = None,
        patience: float | None = None,
    ) -> None:
        """Take up to five events in the background, and tell when they came. A wait longer than
        `patience` is cancelled, and repeated at once."""

        async def main() -> None:
            while True:
                try:
                    async with asyncio.timeout(patience):
                        raws = await queue.take(5, within)
                    break
                except TimeoutError:
                    self.told.append(f"{name} has waited")
            ids = [each[0].decode() for each in raws or ()]
            self.told.append(f"{name} has {ids} at {self.loop.time():.0f}")

        self.run(main())

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        async def main() -> None:
            await work

        self.loop.spawn(self.process, main)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_l4_a_batch_that_waited_past_the_session_waits_for_the_next_one(stage: Stage) -> None:
    stage.session.renew(2.0)
    stage.take("it", stage.queue(b"1-0"), within=3.0)
    stage.loop.run(10.0)
    assert stage.told == []
    stage.session.renew(20.0)
    stage.loop.run(11.0)
    assert stage.told == ["it has ['1-0'] at 10"]


def test_l4_an_event_whose_start_took_long_to_record_waits_for_the_next_session(
    stage: Stage,
) -> None:
    stage.session.renew(0.5)
    stage.take("it", stage.queue(b"1-0", tenures=3))
    stage.loop.run(10.0)
    assert stage.told == ["started 1-0"]
    stage.session.renew(20.0)
    stage.loop.run(11.0)
    assert stage.told == ["started 1-0", "it has ['1-0'] at 10"]


def test_starts_are_recorded_in_many_partitions_at_once(stage: Stage) -> None:
    stage.session.renew(100.0)
    stage.take("first", stage.queue(b"1-0", b"2-0", tenures=3))
    stage.take("second", stage.queue(b"5-0", tenures=3))
    stage.loop.run(10.0)
    assert sorted(stage.told[-2:]) == ["first has ['1-0'] at 1", "second has ['5-0'] at 1"]


def test_events_in_which_a_worker_died_are_tried_one_after_the_other(stage: Stage) -> None:
    stage.session.renew(100.0)
    first, second = stage.queue(b"1-0", b"2-0", deaths=1), stage.queue(b"5-0", deaths=1)
    stage.take("first", first)
    stage.take("second", second)
    stage.take("other", stage.queue(b"9-0"))
    stage.loop.run(10.0)
    assert sorted(stage.told[:2]) == ["other has ['9-0'] at 0", "started 1-0"]
    assert stage.told[2:] == ["first has ['1-0'] at 1"]
    stage.take("first", first)
    stage.loop.run(20.0)
    told = stage.told[3:]
    assert "second has ['5-0'] at 11" in told
    assert "first has ['2-0'] at 10" in told, "the suspect is done: what follows is none"
    assert "started 2-0" not in told


def test_a_suspect_that_takes_for_ever_holds_up_the_others_for_a_while_only(stage: Stage) -> None:
    stage.session.renew(1000.0)
    stage.take("first", stage.queue(b"1-0", deaths=1))
    stage.take("second", stage.queue(b"5-0", deaths=1))
    stage.loop.run(LONGEST_WAIT + 10)
    assert stage.told[-1] == f"second has ['5-0'] at {LONGEST_WAIT + 1:.0f}"


def test_a_lane_that_is_wanted_elsewhere_does_not_wait_for_its_turn(stage: Stage) -> None:
    stage.session.renew(100.0)
    first, second = stage.queue(b"1-0", deaths=1), stage.queue(b"5-0", deaths=1)
    stage.take("first", first)
    stage.take("second", second)
    stage.loop.run(10.0)
    second.state.drain()
    second.changed.set()
    stage.loop.run(11.0)
    assert stage.told[-1] == "second has [] at 10"


def take_impatiently(
    stage: Stage, name: str, queue: PartitionQueue, within: float | None = None, patience: float = 2
) -> None:
    """Take with so many seconds of patience, again and again until something comes."""

    async def main() -> None:
        while True:
            try:
                async with asyncio.timeout(patience):
                    raws = await queue.take(5, within)
                break
            except TimeoutError:
                await asyncio.sleep(0.5)
        ids = [each[0].decode() for each in raws or ()]
        stage.told.append(f"{name} has {ids} at {stage.loop.time():.0f}")

    stage.run(main())


def test_a_list_fills_up_for_as_long_as_it_may_though_each_wait_for_it_is_shorter(
    stage: Stage,
) -> None:
    stage.session.renew(100.0)
    take_impatiently(stage, "a", stage.queue(b"1-0"), within=6)
    stage.loop.run(30.0)
    assert stage.told == ["a has ['1-0'] at 6"]


def test_an_empty_list_comes_in_its_time_though_each_wait_for_it_is_shorter(stage: Stage) -> None:
    stage.session.renew(100.0)
    queue = stage.queue()

    async def main() -> None:
        raws = None
        while raws is None:
            try:
                async with asyncio.timeout(2):
                    raws = await queue.take(5, 6, empty=True)
            except TimeoutError:
                await asyncio.sleep(0.5)
        stage.told.append(f"{raws} at {stage.loop.time():.0f}")

    stage.run(main())
    stage.loop.run(30.0)
    assert stage.told == ["[] at 6"]


def test_a_start_is_recorded_once_though_each_wait_for_that_is_cancelled(stage: Stage) -> None:
    stage.session.renew(100.0)
    queue = stage.queue(b"1-0", tenures=3)

    async def main() -> None:
        raws = None
        while raws is None:
            try:
                async with asyncio.timeout(0.3):  # Recording it takes a second.
                    raws = await queue.take(5)
            except TimeoutError:
                await asyncio.sleep(0.9)
        stage.told.append(f"given at {stage.loop.time():.1f}")

    stage.run(main())
    stage.loop.run(30.0)
    assert stage.told == ["started 1-0", "given at 1.2"]


def test_a_cancelled_wait_keeps_its_place_among_those_who_wait_for_their_turn(stage: Stage) -> None:
    stage.session.renew(1000.0)
    first = stage.queue(b"1-0", b"2-0", deaths=1)
    stage.take("first", first)
    stage.loop.run(1.5)
    take_impatiently(stage, "second", stage.queue(b"5-0", deaths=1), patience=0)
    stage.loop.run(2.0)
    take_impatiently(stage, "third", stage.queue(b"9-0", deaths=1), patience=0)
    stage.loop.run(10.0)
    assert stage.told == ["started 1-0", "first has ['1-0'] at 1"]
    stage.take("first", first)
    stage.loop.run(20.0)
    assert "started 5-0" in stage.told


def test_a_wait_that_is_cancelled_while_a_start_is_recorded_leaves_the_event_there(
    stage: Stage,
) -> None:
    stage.session.renew(100.0)
    queue = stage.queue(b"1-0", b"2-0", tenures=3)
    stage.take("it", queue, patience=0.3)
    stage.loop.run(10.0)
    assert stage.told == ["started 1-0", *["it has waited"] * 3, "it has ['1-0'] at 1"]
    stage.take("it", queue)
    stage.loop.run(20.0)
    assert stage.told[5:] == ["started 2-0", "it has ['2-0'] at 11"]


@pytest.mark.parametrize("trouble", [{"tenures": 3}, {"deaths": 1}])
def test_a_list_that_cannot_become_full_is_not_waited_for_where_starts_are_recorded(
    stage: Stage, trouble: dict[str, int]
) -> None:
    stage.session.renew(100.0)
    stage.take("it", stage.queue(b"1-0", b"2-0", **trouble), within=5.0)
    stage.loop.run(10.0)
    assert stage.told[-1] == "it has ['1-0'] at 1"


def test_a_list_that_cannot_become_full_is_not_waited_for_while_a_batch_is_taken_apart(
    stage: Stage,
) -> None:
    stage.session.renew(100.0)
    queue = stage.queue(b"1-0", b"2-0")
    queue.state.suspicion.isolate(b"2-0")
    stage.take("it", queue, within=5.0)
    stage.loop.run(10.0)
    assert stage.told == ["it has ['1-0'] at 0"]


def test_a_list_that_cannot_become_full_is_not_waited_for_where_no_more_may_be_in_memory(
    stage: Stage,
) -> None:
    stage.session.renew(100.0)
    many = [b"%d-0" % number for number in range(1, 13)]  # More than `prefetch`.
    queue = stage.queue(*many)

    async def main() -> None:
        raws = await queue.take(100, 5.0)
        stage.told.append(f"{len(raws or ())} at {stage.loop.time():.0f}")

    stage.run(main())
    stage.loop.run(10.0)
    assert stage.told == ["12 at 0"]


def test_a_condemned_event_comes_to_no_handler(stage: Stage) -> None:
    stage.session.renew(100.0)
    queue = stage.queue(b"1-0", b"2-0", deaths=4)

    async def main() -> None:
        with pytest.raises(WorkerDied, match="event 1-0 failed or ended its worker 4 times"):
            await queue.take(5)
        stage.told.append(str([each[0] for each in queue.state.in_hand]))

    stage.run(main())
    stage.loop.run(10.0)
    assert stage.told[-1] == "[b'1-0']", "in hand, for the policy to decide about"
