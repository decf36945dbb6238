"""How long partitions pause when they move: after a crash, and in a clean hand-over.

Handlers hold each event for some milliseconds, and there is always a next one. A pause is the time
from the end of a partition's event to the start of its next one, so the event in hand is not in it.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise

from benchmarks.children import Child, ChildFailed, Tree, start_worker, wait_until
from benchmarks.deployment import Server
from benchmarks.groups import WatchedGroup
from benchmarks.harness import Bench
from benchmarks.job import Job
from benchmarks.rows import Row, quantile
from benchmarks.throughput import preload

PARTITIONS = 16
NAMES = ("takeover", "handover")
#: Seconds of a session where workers are killed. The heartbeat interval is a third of it.
SESSION = 1.0
BOUND = SESSION * 4 / 3
#: Seconds for which a handler holds an event in clean hand-overs.
HOLD = 0.005
#: Seconds for which they run undisturbed before they are watched, and for which they are watched.
AFTER = 0.2
WATCHED = 0.4


def measure(bench: Bench) -> Iterator[Row]:
    """A row for crashes; two for clean hand-overs, of partitions that move and that stay."""
    if bench.wants("moves", "takeover"):
        yield _takeover_row(bench)
    if bench.wants("moves", "handover"):
        yield from _handover_rows(bench)


@dataclass(frozen=True)
class Moment:
    """An event, as its handler noted it. `waited` is how long the member had waited for a core."""

    partition: int
    began: float
    ended: float
    waited: float
    member: str


class Workers:
    """The workers of one group. Each is a process and has a name of its own."""

    def __init__(self, stack: ExitStack, tree: Tree, server: Server, job: Job) -> None:
        self._stack = stack
        self._tree = tree
        self._job = job
        self.group = WatchedGroup(server, job)
        self.members: dict[str, Child] = {}

    def prepare(self, name: str, **environment: str) -> Child:
        """Start a worker that waits to join."""
        child = self._stack.enter_context(
            start_worker(self._tree, "app_moves", self._job, "--name", name, **environment)
        )
        child.hear("ready")
        self.members[name] = child
        return child

    def settle(self, members: int) -> None:
        """Wait until so many share all partitions."""
        wait_until(lambda: self.group.shared_by(members), self.members.values())

    def moments(self) -> list[Moment]:
        """The events of the living members since the last report."""
        for child in self.members.values():
            child.say("report")
        return [each for name in self.members for each in self.reported(name)]

    def reported(self, name: str) -> list[Moment]:
        """The next report of one member. It makes its last one by itself, at its end."""
        return [
            Moment(partition, began, ended, waited, name)
            for partition, began, ended, waited in self.members[name].hear("moments")
        ]


def _job(bench: Bench, server: Server, hold: float) -> Job:
    return Job(server.url, name=bench.fresh_name(), partitions=PARTITIONS, hold=hold)


# Crashes


def _takeover_row(bench: Bench) -> Row:
    row = Row(
        "takeover",
        f"take-over after SIGKILL, session {SESSION:g} s",
        "s",
        _takeovers(bench, bench.new),
        more_is_better=False,
    )
    row.old = bench.of_old("takeover", lambda tree: _takeovers(bench, tree)) or []
    within = sum(1 for seconds in row.values if seconds <= BOUND)
    row.details = {"worst": max(row.values), "share within": within / len(row.values)}
    row.note = f"{within} of {len(row.values)} within session + heartbeat ({BOUND:.2f} s)"
    return row


def _takeovers(bench: Bench, tree: Tree) -> list[float]:
    """Seconds from each kill until all partitions of the killed worker have their next event."""
    kills = bench.kills or (2 if bench.quick else 10)
    with Server() as server, ExitStack() as stack:
        preload(server, "order", PARTITIONS, (kills + 2) * PARTITIONS * 150)
        workers = Workers(stack, tree, server, _job(bench, server, hold=0.02))
        environment = {"RUNNEL_SESSION_TIMEOUT": str(SESSION)}
        workers.prepare("survivor", **environment).say("join")
        workers.settle(1)
        found = []
        victim = workers.prepare("victim-0", **environment)
        for number in range(kills):
            name = f"victim-{number}"
            victim.say("join")
            workers.settle(2)
            # At another moment between two heartbeats each time.
            time.sleep(0.1 + SESSION / 3 * number / kills)
            workers.moments()
            lost = {p for p, owner in workers.group.owners().items() if owner == name}
            killed = time.monotonic()
            victim.kill()
            del workers.members[name]
            victim = workers.prepare(f"victim-{number + 1}", **environment)
            time.sleep(max(0.0, killed + BOUND - time.monotonic()))
            found.append(_all_taken_over(workers, lost) - killed)
        return found


def _all_taken_over(workers: Workers, lost: set[int]) -> float:
    """The time at which the last of these partitions began its next event."""
    first: dict[int, float] = {}

    def seen() -> bool:
        workers.members["survivor"].say("report")
        for each in workers.reported("survivor"):
            if each.partition in lost:
                first.setdefault(each.partition, each.began)
        return len(first) == len(lost)

    wait_until(seen, step=0.05)
    return max(first.values())


# Clean hand-overs


#: The percentile of the longest gaps of partitions that stay which is compared with the same while
#: nothing moves. The machine causes the very longest: they differ threefold from run to run.
JUDGED = 0.9


def _handover_rows(bench: Bench) -> Iterator[Row]:
    changing, still = _handovers(bench, bench.new)
    title = "clean hand-over: pause of a partition that moves"
    rows = [
        Row("handover-moved", title, "ms", changing.moved),
        Row("handover-stayed", "longest gap meanwhile of one that stays", "ms", changing.stayed),
    ]
    for row in rows:
        row.more_is_better = False
        row.details["partitions"] = float(len(row.values))
    rows[0].details["p99"] = quantile(changing.moved, 0.99)
    stayed = rows[1]
    stayed.reference = f"the longest when nothing moves, p{JUDGED * 100:g}"
    stayed.ratios = [quantile(changing.stayed, JUDGED) / quantile(still.stayed, JUDGED)]
    for name, gaps in (
        ("", changing.stayed),
        (" when nothing moves", still.stayed),
        (" with waits for a core", changing.all),
    ):
        for share in (0.5, JUDGED, 0.99):
            stayed.details[f"p{share * 100:g}{name}"] = quantile(gaps, share)
    if old := bench.of_old("handover", lambda tree: _handovers(bench, tree)):
        rows[0].old, rows[1].old = old[0].moved, old[0].stayed
    yield from rows


@dataclass
class Gaps:
    """In ms: the pauses of partitions that moved; and of each that stayed the longest time between
    two events, beyond the one in hand: as its handler saw it (`all`), and without the time for
    which its worker waited for a core (`stayed`)."""

    moved: list[float] = field(default_factory=list)
    all: list[float] = field(default_factory=list)
    stayed: list[float] = field(default_factory=list)


def _handovers(bench: Bench, tree: Tree) -> tuple[Gaps, Gaps]:
    """The gaps while a third worker joins and leaves two others, and while nothing moves."""
    rounds = 4 if bench.quick else 16
    with Server() as server, ExitStack() as stack:
        preload(server, "order", PARTITIONS, (rounds + 2) * PARTITIONS * 600)
        workers = Workers(stack, tree, server, _job(bench, server, HOLD))
        for name in ("first", "second"):
            workers.prepare(name)
        for child in workers.members.values():
            child.say("join")
        workers.settle(2)
        seen: list[Moment] = []
        changing, still = [], []
        for number in range(rounds):
            name = f"third-{number}"
            third = workers.prepare(name)
            time.sleep(AFTER)
            # The harness asks nothing while they are watched: that would take the cores from them.
            windows = [_watched()]
            third.say("join")
            windows += [_watched(windows[-1][1])]
            workers.settle(3)
            time.sleep(AFTER)
            windows += [_watched()]
            third.end()
            windows += [_watched(windows[-1][1])]
            seen += workers.reported(name)
            del workers.members[name]
            workers.settle(2)
            seen += workers.moments()
            still += windows[::2]
            changing += windows[1::2]
        return _gaps(seen, changing), _gaps(seen, still)


def _watched(since: float | None = None) -> tuple[float, float]:
    """Wait for WATCHED seconds from now or from a moment ago; return their begin and end."""
    began = time.monotonic() if since is None else since
    time.sleep(max(0.0, began + WATCHED - time.monotonic()))
    return began, time.monotonic()


def _gaps(seen: Sequence[Moment], windows: Sequence[tuple[float, float]]) -> Gaps:
    """The gaps of every partition in each window."""
    found = Gaps()
    members: dict[str, list[Moment]] = {}
    for each in sorted(seen, key=_ended):
        members.setdefault(each.member, []).append(each)
    for partition in range(PARTITIONS):
        own = sorted((each for each in seen if each.partition == partition), key=_ended)
        for begin, end in windows:
            pairs = [(a, b) for a, b in pairwise(own) if begin <= a.ended and b.began <= end]
            if not pairs:
                raise ChildFailed(f"partition {partition} had no events")
            pauses = [b.began - a.ended for a, b in pairs if a.member != b.member]
            if pauses:
                found.moved.append(max(pauses) * 1000)
                continue
            gaps = [b.began - a.began - HOLD for a, b in pairs]
            waits = [_without_core(a, members[a.member]) for a, _ in pairs]
            found.all.append(max(gaps) * 1000)
            found.stayed.append(max(g - w for g, w in zip(gaps, waits, strict=True)) * 1000)
    return found


def _without_core(moment: Moment, of_member: Sequence[Moment]) -> float:
    """For how long its member waited for a core when the event was due to end, counted from the
    last time before that at which the member is known to have run."""
    due = bisect_right(of_member, moment.began + HOLD, key=_ended)
    return moment.waited - of_member[due - 1].waited if due else 0.0


def _ended(moment: Moment) -> float:
    return moment.ended
