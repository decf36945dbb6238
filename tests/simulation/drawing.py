"""Draws the scenario of a seed."""

from __future__ import annotations

import random
from dataclasses import replace

from runnel.retention import Retain
from tests.simulation.drawing_faults import extra_faults, faults_of, time_of
from tests.simulation.emitting import ECHOES, MOST, MOVES, OWN
from tests.simulation.scenario import (
    ERRORS,
    KEYS,
    KILL,
    LOSE_DELAYED,
    LOSE_GROUP_AT_TRIM,
    MIDDLEWARE,
    MISHAPS,
    OVERRUNS,
    STALE,
    STOP,
    WARM_UP,
    Fault,
    Scenario,
    Shape,
)

#: The share of scenarios with emits in which these are forwarded, as in a cluster.
OUTBOXES = 0.4
#: Streams that nobody reads are kept, or drop their oldest events.
RETAIN: tuple[Retain, ...] = ("always", "until_full")
#: An age in seconds at which workers trim once a second.
OFTEN = 20.0
#: The share of scenarios whose handlers have several events at the same time.
TOGETHER = 0.3
#: The share of scenarios in which a worker reads from a primary that was replaced.
REPLACED = 0.12


def draw(seed: int) -> Scenario:
    """The scenario of a seed."""
    rng = random.Random(f"scenario {seed}")
    partitions = rng.choice((1, 1, 2, 3, 4, 4, 6, 8, 8, 16, 32))
    session_timeout = rng.choice((1.0, 2.0, 3.0, 5.0, 10.0))
    work = rng.choice(((0.0, 0.0), (0.0, 0.002), (0.005, 0.02), (0.01, 0.2), (0.1, 1.0)))
    troubled = rng.random() < 0.5
    delay = rng.choice(((0.0002, 0.001), (0.0002, 0.001), (0.001, 0.02), (0.02, 0.1)))
    faults = faults_of(random.Random(f"faults {seed}"), session_timeout)
    workers, producers = rng.randint(1, 6), rng.randint(1, 3)
    processors = rng.choice((1, 1, 1, 2))
    rebalance_timeout = rng.choice((0.0, 0.3, 2.0, 10.0, 30.0))
    rebalance_delay = rng.choice((0.0, 0.2, 0.2, 1.0))
    shutdown_timeout = rng.choice((0.0, 1.0, 10.0))
    prefetch = rng.choice((1, 2, 10, 100))
    mode = rng.choice(("one", "one", "batch", "within", "explicit"))
    commit = rng.choice(("auto", "auto", "auto", "each"))
    policy = rng.choice(("HALT", "QUARANTINE", "IGNORE", "IGNORE"))
    retries = rng.choice((0, 1, 3))
    shapes = (Shape(mode, commit, policy, rng.random() < 0.7),) * processors
    max_block = 60.0
    if seed % 2:
        extra = random.Random(f"further {seed}")
        shapes = _extra_shapes(extra, shapes)
        faults = tuple(sorted((*faults, *extra_faults(extra, session_timeout)), key=time_of))
        max_block = extra.choice((60.0, 1.5 * session_timeout))
    tables = random.Random(f"tables {seed}")
    # A server that loses its last writes matters most to what is remembered. A commit without
    # tables is another script, though, and lost claims are the test of its fence.
    kinds = {each.kind for each in faults}
    losing = "rollback" in kinds or ("lost_claim" in kinds and seed % 2 == 0)
    often = 1.0 if losing else 0.0 if "lost_claim" in kinds else 0.5
    shapes = tuple(replace(each, counts=tables.random() < often) for each in shapes)
    # What has left when two processors are not equally far is seen at every trim.
    ages = (0.0, OFTEN) if len(shapes) > 1 else (0.0, 0.0, OFTEN, 1200.0)
    scenario = Scenario(
        seed=seed,
        partitions=partitions,
        workers=workers,
        producers=producers,
        shapes=shapes,
        session_timeout=session_timeout,
        rebalance_timeout=rebalance_timeout,
        rebalance_delay=rebalance_delay,
        shutdown_timeout=shutdown_timeout,
        max_block=max_block,
        prefetch=prefetch,
        prefetch_bytes=64_000_000,
        filling=0,
        retries=retries,
        work=work,
        failing=rng.choice((0.0, 0.02, 0.1)) if troubled else 0.0,
        poisonous=rng.choice((0.0, 0.01, 0.03)) if troubled else 0.0,
        deadly=rng.choice((0.0, 0.0, 0.01)) if troubled else 0.0,
        partition_size=(size := rng.choice((8, 30, 200, 10_000))),
        # The model knows no bound of what leaves by age at once, which is some 800 entries.
        max_age=random.Random(f"ages {seed}").choice(ages) * (size < 800),
        retain=random.Random(f"retain {seed}").choice(RETAIN),
        wait_for_room=rng.random() < 0.6,
        drop_oldest=rng.random() < 0.1,
        send_every=rng.choice((0.1, 0.3, 1.0, 3.0)),
        max_send=rng.choice((1, 3, 10)),
        delay=delay,
        faults=faults,
        # No fewer than the handler writes for a list of events.
        most_fields=tables.choice((7 if any(each.batch_size > 1 for each in shapes) else 3, 1000)),
        most_entries=200,
        second_stage=Shape("one", "auto", "QUARANTINE", False, counts=True),
        move_partitions=1,
        one_slot=False,
        outbox_size=10_000,
        calm_from=max((each.at for each in faults), default=WARM_UP) + rng.uniform(0.1, 3.0),
    )
    if seed % 4 == 3:
        scenario = _with_limits(random.Random(f"limits {seed}"), scenario)
    # As for tables: lost claims are the test of the fence of commits without effects, too.
    emits = random.Random(f"emits {seed}")
    if emits.random() < (0.0 if "lost_claim" in kinds and seed % 2 else 0.5):
        scenario = _with_emits(emits, scenario)
    together = random.Random(f"together {seed}")
    if together.random() < TOGETHER:
        scenario = _with_concurrency(together, scenario)
    delays = random.Random(f"delays {seed}")
    if delays.random() < 0.5:
        scenario = _with_delays(delays, scenario)
    replaced = random.Random(f"replaced {seed}")
    # Emitted events are small: where others are large, the bound of memory would not hold.
    if replaced.random() < REPLACED and not (scenario.filling or scenario.removes):
        scenario = _with_former_primary(replaced, scenario)
    if scenario.max_age == OFTEN:
        scenario = _with_groups_lost(random.Random(f"groups {seed}"), scenario)
    own = random.Random(f"own {seed}")
    if OWN in scenario.shapes[0].emits and len(scenario.shapes) == 1 and own.random() < 0.7:
        # Its log is full of what nobody has committed yet, to which it emits.
        scenario = replace(
            scenario,
            partitions=1,
            partition_size=own.choice((8, 30)),
            send_every=0.1,
            max_send=10,
        )
    return scenario


def _with_groups_lost(rng: random.Random, scenario: Scenario) -> Scenario:
    """The scenario with consumer groups that are lost when their partitions are trimmed."""
    times = [WARM_UP + rng.random() * 10 for _ in range(rng.choice((0, 1, 3)))]
    faults = [Fault(at, LOSE_GROUP_AT_TRIM, rng.randrange(1000), rng.random()) for at in times]
    return replace(
        scenario,
        faults=tuple(sorted((*scenario.faults, *faults), key=time_of)),
        calm_from=max((scenario.calm_from, *(each + 2.0 for each in times))),
    )


def _with_concurrency(rng: random.Random, scenario: Scenario) -> Scenario:
    """The scenario with handlers that have several events of a partition at the same time."""
    shapes = [
        replace(
            each,
            mode="one",
            commit="auto",
            middleware=(),
            patience=None,
            concurrency=rng.choice((2, 3, 8, 50)),
        )
        for each in scenario.shapes
    ]
    scenario = replace(scenario, shapes=tuple(shapes))
    if rng.random() < 0.5:
        return scenario
    # Many events wait beyond one that fails.
    return replace(
        scenario,
        partitions=min(scenario.partitions, 4),
        prefetch=rng.choice((1, 2, 10)),
        failing=max(0.1, scenario.failing),
        retries=max(1, scenario.retries),
        send_every=0.1,
        max_send=10,
    )


def _with_former_primary(rng: random.Random, scenario: Scenario) -> Scenario:
    """The scenario with a worker that reads for a while from a primary that was replaced: many
    partitions that have had no event, or few whose last event leaves. Nothing else removes events
    that are not committed: then a commit cannot tell what the log never had."""
    fresh = rng.random() < 0.6
    shape = replace(
        scenario.shapes[0],
        mode="one",
        commit="auto",
        errors=("own",),
        middleware=(),
        patience=None,
        timeout=None,
        counts=not (fresh and scenario.shapes[0].emits),
    )
    faults = [each for each in scenario.faults if each.kind not in KEYS]
    for i in range(rng.choice((2, 4))):
        at = 3.0 + 1.5 * i + rng.random() / 2
        aim = "" if fresh else "trim"
        faults.append(Fault(at, STALE, rng.randrange(1000), 0.6, aim))
        if rng.random() < 0.5:
            kind = rng.choice(("revoke", "join", "leave"))
            faults.append(Fault(at + rng.random() / 2, kind, rng.randrange(1000), rng.random()))
    return replace(
        scenario,
        partitions=rng.choice((8, 16) if fresh else (1, 2)),
        workers=rng.choice((1, 1, 2)),
        producers=4,
        shapes=(shape,),
        send_every=1.0 if fresh else 0.3,
        max_send=1,
        # Handlers are at work when all notice.
        work=(0.1, 1.0) if fresh else (0.0, 0.05),
        drop_oldest=False,
        faults=tuple(sorted(faults, key=time_of)),
        calm_from=max((scenario.calm_from, *(each.at + 1.0 for each in faults))),
    )


def _with_delays(rng: random.Random, scenario: Scenario) -> Scenario:
    """The scenario with delayed events, and with faults of the calls about them."""
    faults = []
    for _ in range(rng.choice((0, 3, 8))):
        aim = rng.choice(("append_later", "promote", "promote", "cancel"))
        at = WARM_UP + rng.random() * 8
        kind, target = rng.choice(MISHAPS), rng.randrange(1000)
        faults.append(Fault(at, kind, target, rng.choice((0.2, 2.0, 6.0)), aim))
    if rng.random() < 0.1:
        at = WARM_UP + rng.random() * 8
        faults.append(Fault(at, LOSE_DELAYED, rng.randrange(1000), rng.random()))
    return replace(
        scenario,
        delayed=rng.choice((0.2, 0.5, 0.9)),
        longest_delay=rng.choice((0.05, 2.0, 10.0)),
        cancelled=rng.choice((0.0, 0.2)),
        faults=tuple(sorted((*scenario.faults, *faults), key=time_of)),
        calm_from=max((scenario.calm_from, *(each.at + 1.0 for each in faults))),
    )


def _with_emits(rng: random.Random, scenario: Scenario) -> Scenario:
    """The scenario with processors that emit, and with a second stage for that."""
    shapes = []
    for shape in scenario.shapes:
        # Partitions that are full, or two processors of one, would wait for each other for ever.
        alone = scenario.partitions == len(scenario.shapes) == 1 or scenario.partition_size >= 200
        own = (OWN,) if alone and rng.random() < 0.6 else ()
        streams = rng.choice(((MOVES,), (MOVES,), (ECHOES,), (MOVES, ECHOES)))
        holds = shape.commit == "auto" and shape.mode != "explicit" and rng.random() < 0.4
        middleware = (*shape.middleware, "holds") if holds else shape.middleware
        shapes.append(replace(shape, emits=(*streams, *own), middleware=middleware))
    at_once = 2 * MOST * max(each.batch_size for each in shapes)
    second_stage = replace(
        scenario.second_stage,
        mode=rng.choice(("one", "batch", "within")),
        commit=rng.choice(("auto", "auto", "each")),
    )
    scenario = replace(
        scenario,
        shapes=tuple(shapes),
        second_stage=second_stage,
        move_partitions=rng.choice((1, 2, 3, 5)),
        most_entries=rng.choice((at_once, 200)),
        # A middleware that holds back has the handler write for two at once.
        most_fields=max(scenario.most_fields, 2 * 7)
        if any("holds" in each.middleware for each in shapes)
        else scenario.most_fields,
    )
    return _with_outbox(rng, scenario, at_once) if rng.random() < OUTBOXES else scenario


def _with_outbox(rng: random.Random, scenario: Scenario, at_once: int) -> Scenario:
    """The scenario in a cluster, with faults of what forwards. `at_once` is the most entries for
    the events that a handler has."""
    faults = []
    for _ in range(rng.choice((0, 4, 12))):
        at, target = WARM_UP + rng.random() * 10, rng.randrange(1000)
        kind = rng.choice((*MISHAPS, KILL))
        aim = rng.choice(("append_numbered", "trim_outbox")) if kind != KILL else ""
        faults.append(Fault(at, kind, target, rng.choice((0.2, 2.0, 6.0)), aim))
    small = rng.random() < 0.6
    return replace(
        scenario,
        one_slot=True,
        most_entries=at_once if small else scenario.most_entries,
        outbox_size=at_once + 1 if small else 10_000,
        faults=tuple(sorted((*scenario.faults, *faults), key=time_of)),
        calm_from=max((scenario.calm_from, *(each.at + 1.0 for each in faults))),
    )


def _extra_shapes(rng: random.Random, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    """The shapes with errors, middleware and patience; a second processor gets another shape."""
    found = list(shapes)
    if rng.random() < 0.4:
        found = [shapes[0], _shape(rng)]
    for i, shape in enumerate(found):
        middleware = tuple(rng.sample(MIDDLEWARE, rng.choice((0, 0, 1, 2))))
        # A handler that waits less than its middleware takes would never get an event.
        waits = (None, 0.05, 0.004) if "awaits" in middleware else (None, None, 0.0, 0.001, 0.05)
        found[i] = replace(
            shape,
            mode=rng.choice((shape.mode, shape.mode, "empty")),
            errors=tuple(rng.sample(ERRORS, rng.choice((1, 2, len(ERRORS))))),
            middleware=middleware,
            patience=rng.choice(waits),
        )
    return tuple(found)


def _with_limits(rng: random.Random, scenario: Scenario) -> Scenario:
    """The scenario with time limits, or with large records that soon reach the memory limit."""
    if filling := rng.choice((0, 20_000, 60_000)):
        scenario = replace(
            scenario,
            prefetch=100,
            prefetch_bytes=1_000_000,
            filling=filling,
            work=(0.1, 1.0),
            send_every=0.1,
            max_send=10,
        )
    shapes = tuple(_limited(rng, each, scenario.work[1]) for each in scenario.shapes)
    late = any(each.timeout for each in shapes)
    times = [WARM_UP + rng.random() * 10 for _ in range(rng.choice((0, 1, 3)))]
    amount = scenario.session_timeout * rng.choice((0.7, 1.2, 2.0))
    stops = [Fault(at, STOP, rng.randrange(1000), amount) for at in times]
    # A worker with many events continues with them once its loop is free, even if it was cut off.
    stops += [
        Fault(each.at + 4.0, "block_cut_off", each.target + 1, 3 * scenario.session_timeout)
        for each in stops
    ]
    longest = max((each.at + each.amount for each in stops), default=0.0)
    return replace(
        scenario,
        shapes=shapes,
        failing=max(0.1, scenario.failing) if late else scenario.failing,
        faults=tuple(sorted((*scenario.faults, *stops), key=time_of)),
        calm_from=max(scenario.calm_from, longest + 1.0),
    )


def _limited(rng: random.Random, shape: Shape, work: float) -> Shape:
    """The shape with a time limit, or with less patience than its middleware takes."""
    if "awaits" in shape.middleware:
        return replace(shape, patience=rng.choice((shape.patience, 0.0, 0.001)))
    if rng.random() < 0.3:
        return shape
    # Longer than its events take when they do not fail.
    limit = 1.5 * work * shape.batch_size + rng.choice((0.1, 1.0))
    return replace(shape, timeout=limit, errors=(*shape.errors[:1], *OVERRUNS))


def _shape(rng: random.Random) -> Shape:
    return Shape(
        mode=rng.choice(("one", "batch", "within", "explicit")),
        commit=rng.choice(("auto", "each")),
        policy=rng.choice(("HALT", "QUARANTINE", "IGNORE")),
        dead_letters=rng.random() < 0.7,
    )
