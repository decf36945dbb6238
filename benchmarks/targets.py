"""The targets: bounds on medians and on ratios of medians within one run on one machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.rows import Row

#: The detail of a row that says how many times its reference the cores of this machine allow.
CORES_ALLOW = "cores allow"
#: The detail that says how many times one raw loop two of them reach, which share nothing.
RAW_LOOPS = "two raw loops"
#: Cores that other programs may use before a figure is marked as disturbed.
DISTURBED = 0.25


@dataclass(frozen=True)
class Target:
    """A bound on one figure of a row: its ratio, its median, or a detail of that name."""

    row: str
    title: str
    bound: float
    at_least: bool
    figure: str = "ratio"

    def figure_of(self, row: Row) -> float | None:
        """The figure of this row, if it was measured."""
        named = {"ratio": row.ratio, "median": row.median}
        return named[self.figure] if self.figure in named else row.details.get(self.figure)


@dataclass(frozen=True)
class Verdict:
    """A target and its result: met, missed, or not measured."""

    target: Target
    figure: float | None
    word: str


TARGETS = [
    Target("one", "one at a time, typed: of the raw loop", 0.5, True),
    Target("runnel-2020-one", "the same: times the Runnel of 2020", 15, True),
    Target("take", "take(100), typed: of the raw batch loop", 0.7, True),
    Target("faststream-batch", "the same: times FastStream's batches", 3, True),
    Target("each", 'commit="each": of the raw loop that commits each', 0.7, True),
    Target("concurrency", "handlers wait 10 ms, concurrency=100: times one at a time", 80, True),
    Target("plain", "@app.on, plain def: of the same as async def", 0.5, True),
    Target("state-one-of-plain", "a state write, one at a time: of no state", 0.5, True),
    Target("state-take-of-plain", "a state write, take(100): of no state", 0.5, True),
    Target("state-one", "a state write, one at a time: of the loop by hand", 0.8, True),
    Target("state-take", "a state write, take(100): of the loop by hand", 0.8, True),
    Target("emit-same", "an emit, same partitioning: of the loop by hand", 0.7, True),
    Target("emit-rekeyed", "an emit, re-keyed: of the loop by hand", 0.7, True),
    Target("takeover-table", "first event after a claim, 1,000,000 keys: s", 1, False, "worst"),
    Target("partitions-1024", "1,024 partitions: of its own with 16", 0.7, True),
    Target("processes-2", "two processes: times one", 1.6, True),
    Target("latency-handler-p50", "send to handler, p50: of a bare XREAD", 1.5, False),
    Target("latency-handler-p99", "send to handler, p99: of a bare XREAD", 2.0, False),
    Target("send", "send, one awaited at a time: of a bare awaited XADD", 0.7, True),
    Target("send-bulk", "send, 1,000 in a call: of redis-py's pipelined XADD", 1.5, True),
    Target("one", "Redis calls per event, backlog, default settings", 0.1, False, "calls"),
    Target("idle", "idle worker, 16 partitions: calls sent a second", 2, False, "median"),
    Target("memory", "Redis memory for each event: of a bare XADD", 1.25, False),
    Target("takeover", "taken over within session + heartbeat: share", 1, True, "share within"),
    Target("handover-moved", "hand-over, pause of what moves, p99: ms", 50, False, "p99"),
    Target("handover-stayed", "hand-over, gaps of what stays, p90: of normal", 1.25, False),
    Target("sync-steady", "sync, 1,000 partitions, 100 members, steady: µs", 200, False, "median"),
    Target("sync-rebalance", "the same, rebalance: µs", 3000, False, "median"),
    Target("budgets", "Lua scripts within their budgets: share", 1, True, "share"),
]


def judge(rows: Iterable[Row]) -> list[Verdict]:
    """Compare every target with the rows that were measured."""
    found = {row.name: row for row in rows}
    return [_verdict(target, found.get(target.row)) for target in TARGETS]


def _verdict(target: Target, row: Row | None) -> Verdict:
    figure = target.figure_of(row) if row else None
    if figure is None:
        return Verdict(target, None, "not measured")
    met = figure >= target.bound if target.at_least else figure <= target.bound
    return Verdict(target, figure, ("met" if met else "MISSED" + _limit(row)) + _doubt(row))


def _limit(row: Row | None) -> str:
    """Figures to compare a missed target with; they do not excuse it."""
    details = row.details if row is not None else {}
    if CORES_ALLOW not in details:
        return ""
    limit = f", where the cores allow about {details[CORES_ALLOW]:.2f}"
    if RAW_LOOPS in details:
        limit += f" and two raw loops do {details[RAW_LOOPS]:.2f} times one"
    return limit


def _doubt(row: Row | None) -> str:
    """A mark for figures that are doubtful because other programs used the machine."""
    disturbed = row is not None and row.details.get("other_load", 0) > DISTURBED
    return ", with other programs at work" if disturbed else ""
