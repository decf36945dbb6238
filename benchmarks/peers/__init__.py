"""Measures other libraries, each in an environment of its own, against Runnel in the same run."""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.children import ROOT, Child, ChildFailed, wait_until
from benchmarks.deployment import Server
from benchmarks.harness import Bench
from benchmarks.peers.environments import NotInstalled, environment
from benchmarks.rows import Row, Sample, column, quantile, ratios

SCRIPTS = Path(__file__).parent / "run"


@dataclass(frozen=True)
class Peer:
    """A library, how it is installed, and how many events or records each of its measures has."""

    title: str
    script: str
    requirements: tuple[str, ...]
    counts: dict[str, int]
    python: str = ""


CLIENT = ("redis==8.1.0", "hiredis==3.5.0", "uvloop==0.23.0")
PEERS = {
    "runnel-2020": Peer(
        "Runnel 0.1.0b1 of 2020",
        "with_runnel_2020.py",
        (
            "runnel==0.1.0b1",
            "aredis==1.1.8",
            "anyio==2.0.0b2",
            "pydantic==1.6.1",
            "typer==0.3.2",
            "structlog==20.1.0",
            "hiredis==1.1.0",
            "aiostream==0.4.1",
            "uvloop==0.14.0",
            "xxhash==1.4.4",
            "orjson==3.3.1",
            "lz4==3.1.0",
        ),
        {"one": 20_000, "batch": 20_000, "send": 5_000, "send-many": 40_000},
        python="3.8",
    ),
    "faststream": Peer(
        "FastStream",
        "with_faststream.py",
        ("faststream[redis]==0.7.8", *CLIENT),
        {"one": 12_000, "batch": 100_000, "send": 5_000, "send-many": 40_000},
    ),
}
NAMES = tuple(PEERS)
OURS = Peer(
    "Runnel",
    "with_runnel.py",
    (),
    {"one": 200_000, "batch": 250_000, "send": 6_000, "send-many": 40_000},
)
#: Records sent at 200 a second.
PACED = 1_000


def measure(bench: Bench) -> Iterator[Row]:
    """Rows for each peer that --peers names. A peer that cannot be installed is left out, with the
    reason.

    Ratios are Runnel's figure to the peer's.
    """
    if bench.peers is None:
        return
    for name in bench.peers or NAMES:
        peer = PEERS[name]
        try:
            python, versions = environment(name, peer.requirements, peer.python)
            bench.versions[name] = versions
            yield from _rows(bench, name, peer, python)
        except (NotInstalled, ChildFailed) as error:
            bench.failed[name] = str(error)


def _rows(bench: Bench, name: str, peer: Peer, python: Path) -> Iterator[Row]:
    sides = {"peer": (peer, python), "ours": (OURS, Path(sys.executable))}
    for action in peer.counts:
        runs = {side: partial(_rate, *who, action) for side, who in sides.items()}
        unit = "records/s" if action.startswith("send") else "events/s"
        row = Row(f"{name}-{action}", f"{peer.title}: {action.replace('-', ' ')}", unit, [])
        yield _filled(row, bench.interleaved(runs, 2 if bench.quick else 3), "rate")
    runs = {side: partial(_latency, *who) for side, who in sides.items()}
    samples = bench.interleaved(runs, 1 if bench.quick else 2)
    for share in ("p50", "p99"):
        row = Row(f"{name}-latency-{share}", f"{peer.title}: send to handler, {share}", "ms", [])
        row.more_is_better = False
        yield _filled(row, samples, share)


def _filled(row: Row, samples: dict[str, list[Sample]], key: str) -> Row:
    row.values = column(samples["peer"], key)
    ours = column(samples["ours"], key)
    row.ratios = ratios(ours, row.values)
    row.reference = "it, for Runnel"
    row.details = {"Runnel": statistics.median(ours)}
    return row


def _start(peer: Peer, python: Path, server: Server, action: str, count: int = 0) -> Child:
    command = [str(python), str(SCRIPTS / peer.script), action, str(count)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["PEER_REDIS_URL"] = server.url
    if peer is OURS:
        environment["PYTHONPATH"] = str(ROOT)
    return Child(command, SCRIPTS, environment)


def _rate(peer: Peer, python: Path, action: str) -> Sample:
    count = peer.counts[action]
    with Server() as server:
        if not action.startswith("send"):
            with _start(peer, python, server, "preload", count) as child:
                child.hear("sent")
        with _start(peer, python, server, action, count) as child:
            return {"rate": child.hear("rate")}


def _latency(peer: Peer, python: Path) -> Sample:
    with Server() as server, _start(peer, python, server, "paced", PACED) as sender:
        sender.hear("ready")
        with _start(peer, python, server, "listen") as reader:
            reader.hear("ready")
            sender.say("go")
            sender.hear("sent")
            found = _reported(reader)
    return {"p50": quantile(found, 0.5), "p99": quantile(found, 0.99)}


def _reported(reader: Child) -> list[float]:
    """Milliseconds of all records, once all have arrived."""
    found: list[float] = []

    def arrived() -> bool:
        reader.say("report")
        found[:] = reader.hear("latencies")
        return len(found) >= PACED

    wait_until(arrived, step=0.5)
    return [seconds * 1000 for seconds in found]
