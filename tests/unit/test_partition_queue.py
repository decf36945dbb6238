"""What a queue hands out, and when, in virtual time."""

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
from runnel.protocol import (
    CheckpointMove,
    ClaimReply,
    PartitionKeys,
    Sink,
    StreamContract,
    Token,
)
from tests.simulation.loop import Process, SimLoop


class Stage:
    """A loop, a session, a lock, and queues; `said` has what happened."""

    def __init__(self) -> None:
        self.loop = SimLoop()  # type: ignore[abstract]
        self.session = Session(self.loop.time)
        self.start_lock = RecordedStartLock()
        self.said: list[str] = []
        self.process = Process("it")

    def queue(self, *ids: bytes, unclean_tenures: int = 0, deaths: int = 0) -> PartitionQueue:
        first = ids[0].decode() if ids else ""
        event = first if deaths else ""
        claimed = ClaimReply(
            7,
            "0-0",
            0,
            deaths,
            event,
            unclean_tenures,
            False,
            False,
            None,
            True,
            False,
            first,
            deaths,
        )
        state = PartitionState(
            len(self.said), PartitionKeys("p", "work"), 1, Token(7, "n"), claimed
        )
        wanted = state.next_read(10)
        assert wanted
        state.take_in(wanted, [[each, [b"f", b"v"]] for each in ids], cursor_exists=False)

        async def record_start(state: PartitionState, event: str) -> None:
            self.said.append(f"started {event}")
            await asyncio.sleep(1)

        def schedule_commit(state: PartitionState) -> None:
            move = state.next_commit()
            if move:
                state.committed(move)

        return PartitionQueue(
            state,
            commit_each=False,
            prefetch=10,
            retries=3,
            session=self.session,
            start_lock=self.start_lock,
            schedule_commit=schedule_commit,
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
        """Take up to five events in the background, and note when they came. A wait longer than
        `patience` is cancelled, and repeated at once."""

        async def main() -> None:
            while True:
                try:
                    async with asyncio.timeout(patience):
                        raws = await queue.take(5, within)
                    break
                except TimeoutError:
                    self.said.append(f"{name} has waited")
            ids = [each[0].decode() for each in raws or ()]
            self.said.append(f"{name} has {ids} at {self.loop.time():.0f}")

        self.run(main())

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        async def main() -> None:
            await work

        self.loop.spawn(self.process, main)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_l4_a_list_that_is_full_after_the_session_waits_for_its_renewal(stage: Stage) -> None:
    stage.session.renew(2.0)
    stage.take("it", stage.queue(b"1-0"), within=3.0)
    stage.loop.run(10.0)
    assert stage.said == []
    stage.session.renew(20.0)
    stage.loop.run(11.0)
    assert stage.said == ["it has ['1-0'] at 10"]


def test_l4_nothing_is_handed_out_while_too_much_waits_for_its_commit(stage: Stage) -> None:
    stage.session.renew(100.0)
    queue = stage.queue(b"1-0", b"2-0", b"3-0", b"4-0", b"5-0")
    state, sink = queue.state, Sink("p", StreamContract(1, "xxh64"), 3, derived=True)
    state.unverified_from = "0-0"  # Nothing is committed before it is verified.
    for number in range(3):
        assert queue.next(), number
        state.emit(sink, [b"f", b"v"])
        state.emit(sink, [b"f", b"v"])  # A commit holds no more for this sink.
    assert queue.next() is None
    stage.take("it", queue)
    stage.loop.run(10.0)
    assert stage.said == []
    state.verified("0-0", exists=True)
    move = state.next_commit()
    assert move == CheckpointMove("0-0", "1-0", 1)
    state.committed(move)
    queue.changed.set()
    stage.loop.run(11.0)
    assert stage.said == ["it has ['4-0', '5-0'] at 10"]


def test_l4_an_event_whose_start_took_long_to_record_waits_for_the_renewal(
    stage: Stage,
) -> None:
    stage.session.renew(0.5)
    stage.take("it", stage.queue(b"1-0", unclean_tenures=3))
    stage.loop.run(10.0)
    assert stage.said == ["started 1-0"]
    stage.session.renew(20.0)
    stage.loop.run(11.0)
    assert stage.said == ["started 1-0", "it has ['1-0'] at 10"]


def test_starts_are_recorded_in_many_partitions_at_once(stage: Stage) -> None:
    stage.session.renew(100.0)
    stage.take("first", stage.queue(b"1-0", b"2-0", unclean_tenures=3))
    stage.take("second", stage.queue(b"5-0", unclean_tenures=3))
    stage.loop.run(10.0)
    assert sorted(stage.said[-2:]) == ["first has ['1-0'] at 1", "second has ['5-0'] at 1"]


def test_events_that_may_have_killed_a_worker_are_processed_one_by_one(stage: Stage) -> None:
    stage.session.renew(100.0)
    first, second = stage.queue(b"1-0", b"2-0", deaths=1), stage.queue(b"5-0", deaths=1)
    stage.take("first", first)
    stage.take("second", second)
    stage.take("other", stage.queue(b"9-0"))
    stage.loop.run(10.0)
    assert sorted(stage.said[:2]) == ["other has ['9-0'] at 0", "started 1-0"]
    assert stage.said[2:] == ["first has ['1-0'] at 1"]
    stage.take("first", first)
    stage.loop.run(20.0)
    said = stage.said[3:]
    assert "second has ['5-0'] at 11" in said
    assert "first has ['2-0'] at 10" in said, "the next event is not suspected"
    assert "started 2-0" not in said


def test_a_suspected_event_holds_up_the_others_for_a_limited_time(stage: Stage) -> None:
    stage.session.renew(1000.0)
    stage.take("first", stage.queue(b"1-0", deaths=1))
    stage.take("second", stage.queue(b"5-0", deaths=1))
    stage.loop.run(LONGEST_WAIT + 10)
    assert stage.said[-1] == f"second has ['5-0'] at {LONGEST_WAIT + 1:.0f}"


def test_a_draining_partition_does_not_wait_for_the_lock(stage: Stage) -> None:
    stage.session.renew(100.0)
    first, second = stage.queue(b"1-0", deaths=1), stage.queue(b"5-0", deaths=1)
    stage.take("first", first)
    stage.take("second", second)
    stage.loop.run(10.0)
    second.state.drain()
    second.changed.set()
    stage.loop.run(11.0)
    assert stage.said[-1] == "second has [] at 10"


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
        stage.said.append(f"{name} has {ids} at {stage.loop.time():.0f}")

    stage.run(main())


def test_a_list_fills_up_for_its_whole_time_though_each_wait_for_it_is_shorter(
    stage: Stage,
) -> None:
    stage.session.renew(100.0)
    take_impatiently(stage, "a", stage.queue(b"1-0"), within=6)
    stage.loop.run(30.0)
    assert stage.said == ["a has ['1-0'] at 6"]


def test_an_empty_list_comes_in_time_though_each_wait_for_it_is_shorter(stage: Stage) -> None:
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
        stage.said.append(f"{raws} at {stage.loop.time():.0f}")

    stage.run(main())
    stage.loop.run(30.0)
    assert stage.said == ["[] at 6"]


def test_a_start_is_recorded_once_though_each_wait_for_it_is_cancelled(stage: Stage) -> None:
    stage.session.renew(100.0)
    queue = stage.queue(b"1-0", unclean_tenures=3)

    async def main() -> None:
        raws = None
        while raws is None:
            try:
                async with asyncio.timeout(0.3):  # Recording it takes a second.
                    raws = await queue.take(5)
            except TimeoutError:
                await asyncio.sleep(0.9)
        stage.said.append(f"given at {stage.loop.time():.1f}")

    stage.run(main())
    stage.loop.run(30.0)
    assert stage.said == ["started 1-0", "given at 1.2"]


def test_a_cancelled_wait_keeps_its_place_in_the_queue_for_the_lock(stage: Stage) -> None:
    stage.session.renew(1000.0)
    first = stage.queue(b"1-0", b"2-0", deaths=1)
    stage.take("first", first)
    stage.loop.run(1.5)
    take_impatiently(stage, "second", stage.queue(b"5-0", deaths=1), patience=0)
    stage.loop.run(2.0)
    take_impatiently(stage, "third", stage.queue(b"9-0", deaths=1), patience=0)
    stage.loop.run(10.0)
    assert stage.said == ["started 1-0", "first has ['1-0'] at 1"]
    stage.take("first", first)
    stage.loop.run(20.0)
    assert "started 5-0" in stage.said


def test_a_wait_that_is_cancelled_while_a_start_is_recorded_loses_no_event(
    stage: Stage,
) -> None:
    stage.session.renew(100.0)
    queue = stage.queue(b"1-0", b"2-0", unclean_tenures=3)
    stage.take("it", queue, patience=0.3)
    stage.loop.run(10.0)
    assert stage.said == ["started 1-0", *["it has waited"] * 3, "it has ['1-0'] at 1"]
    stage.take("it", queue)
    stage.loop.run(20.0)
    assert stage.said[5:] == ["started 2-0", "it has ['2-0'] at 11"]


@pytest.mark.parametrize("options", [{"unclean_tenures": 3}, {"deaths": 1}])
def test_a_list_that_cannot_become_full_is_not_waited_for_while_starts_are_recorded(
    stage: Stage, options: dict[str, int]
) -> None:
    stage.session.renew(100.0)
    stage.take("it", stage.queue(b"1-0", b"2-0", **options), within=5.0)
    stage.loop.run(10.0)
    assert stage.said[-1] == "it has ['1-0'] at 1"


def test_a_list_that_cannot_become_full_is_not_waited_for_while_a_batch_is_isolated(
    stage: Stage,
) -> None:
    stage.session.renew(100.0)
    queue = stage.queue(b"1-0", b"2-0")
    queue.state.suspicion.isolate(b"2-0")
    stage.take("it", queue, within=5.0)
    stage.loop.run(10.0)
    assert stage.said == ["it has ['1-0'] at 0"]


def test_a_list_that_cannot_become_full_is_not_waited_for_when_memory_is_used_up(
    stage: Stage,
) -> None:
    stage.session.renew(100.0)
    many = [b"%d-0" % number for number in range(1, 13)]  # More than `prefetch`.
    queue = stage.queue(*many)

    async def main() -> None:
        raws = await queue.take(100, 5.0)
        stage.said.append(f"{len(raws or ())} at {stage.loop.time():.0f}")

    stage.run(main())
    stage.loop.run(10.0)
    assert stage.said == ["12 at 0"]


def test_an_event_that_killed_workers_is_not_handed_to_the_handler(stage: Stage) -> None:
    stage.session.renew(100.0)
    queue = stage.queue(b"1-0", b"2-0", deaths=4)

    async def main() -> None:
        with pytest.raises(WorkerDied, match="event 1-0 failed or ended its worker 4 times"):
            await queue.take(5)
        stage.said.append(str([each[0] for each in queue.state.current]))

    stage.run(main())
    stage.loop.run(10.0)
    assert stage.said[-1] == "[b'1-0']", "it is current, so that the policy decides about it"
