"""Draws the faults of a seed."""

from __future__ import annotations

import random
from dataclasses import replace

from tests.simulation.scenario import AIMS, EXTRA, KINDS, MISHAPS, WARM_UP, Fault


def faults_of(rng: random.Random, session_timeout: float) -> tuple[Fault, ...]:
    """Faults of a random subset of the kinds, each at a random time."""
    kinds = rng.sample(KINDS, rng.choice((0, 1, 1, 2, 2, 3, 5, len(KINDS))))
    if not kinds:
        return ()
    count = rng.choice((1, 2, 4, 8, 16))
    length = rng.choice((2.0, 10.0, 30.0))
    drawn = []
    for _ in range(count):
        kind = rng.choice(kinds)
        drawn.append(
            Fault(
                at=WARM_UP + rng.random() * length,
                kind=kind,
                target=rng.randrange(1000),
                amount=_amount(rng, kind, session_timeout),
                aim=rng.choice(AIMS) if kind in MISHAPS else "",
            )
        )
        drawn += _companions(rng, drawn[-1], length)
        if kind in ("leave", "kill") and rng.random() < 0.3:  # Flapping.
            drawn += [
                replace(drawn[-1], at=drawn[-1].at + i * session_timeout / 3) for i in (1, 2, 3)
            ]
    for leave in [
        each for each in drawn if each.kind == "leave"
    ]:  # Only few of these overtake the leave.
        for _ in range(4):
            late = Fault(leave.at, "late", rng.randrange(1000), rng.choice((0.2, 2.0)), "leave")
            drawn.append(late)
    return tuple(sorted(drawn, key=time_of))


def extra_faults(rng: random.Random, session_timeout: float) -> list[Fault]:
    """Admin commands, and handlers that block their loop."""
    kinds = rng.sample(EXTRA, rng.choice((0, 1, 1, 2, 3)))
    return [
        Fault(
            at=WARM_UP + rng.random() * 15,
            kind=rng.choice(kinds),
            target=rng.randrange(1000),
            amount=session_timeout * rng.choice((0.3, 0.7, 1.2, 2.0, 3.0)),
        )
        for _ in range(rng.choice((1, 3, 6)) if kinds else 0)
    ]


def _companions(rng: random.Random, fault: Fault, length: float) -> list[Fault]:
    """More faults beside one that alone would seldom happen at a moment that matters."""

    def another(at: float, kind: str, amount: float, aim: str = "") -> Fault:
        return Fault(max(WARM_UP, at), kind, rng.randrange(1000), amount, aim)

    if fault.kind in MISHAPS:  # They affect one request each.
        count = rng.choice((0, 3, 10))
        kind, amount = fault.kind, fault.amount
        return [
            another(WARM_UP + rng.random() * length, kind, amount, rng.choice(AIMS))
            for _ in range(count)
        ]
    if fault.kind in ("trim_unread", "lose_plan"):  # They matter only together with others.
        return [
            another(WARM_UP + rng.random() * length, fault.kind, rng.random()) for _ in range(3)
        ]
    if fault.kind == "skew" and rng.random() < 0.5:  # While partitions move.
        return [another(fault.at - rng.random() / 5, rng.choice(("join", "leave")), rng.random())]
    return []


def _amount(rng: random.Random, kind: str, session_timeout: float) -> float:
    if kind in ("pause", "cut", "deaf", "hole", "busy", "full"):
        return session_timeout * rng.choice((0.1, 0.5, 1.2, 2.0, 3.0))
    if kind == "skew":
        return rng.choice((-3600.0, -session_timeout, -1.0, 1.0, session_timeout, 3600.0))
    if kind == "late":
        return rng.choice((0.5, 6.0, 10.0, 20.0))
    if kind == "rollback":
        return rng.choice((0.02, 0.5, 2.0, session_timeout))
    return rng.random()


def time_of(fault: Fault) -> float:
    """When it happens."""
    return fault.at
