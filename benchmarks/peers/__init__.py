"""Other libraries, each in an environment of its own, against Runnel in the same run."""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.children import ROOT, Child, ChildFailed, wait_until
from benchmarks.harness import Bench
from benchmarks.peers.environments import NotInstalled, environment
from benchmarks.rows import Row, Sample, column, quantile, ratios
from benchmarks.server import Server

SCRIPTS = Path(__file__).parent / "run"


@dataclass(frozen=True)
class Peer:
    """A library: how it is installed, and what of it is measured.

    `throughput` maps a variant to the number of events, `listens` is the variant whose latency is
    measured, `sends` the numbers of records sent one at a time and a thousand in a call.
    """

    title: str
    script: str
    requirements: tuple[str, ...]
    throughput: dict[str, int]
    listens: str
    sends: tuple[int, int]
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
        {"one": 20_000, "batch": 20_000},
        "listen",
        (5_000, 40_000),
        python="3.8",
    ),
    "faststream": Peer(
        "FastStream",
        "with_faststream.py",
        ("faststream[redis]==0.7.8", *CLIENT),
        {"one": 12_000, "batch": 100_000},
        "one",
        (5_000, 40_000),
    ),
    "arq": Peer(
        "arq",
        "with_arq.py",
        # It does not work with newer clients.
        ("arq==0.28.0", "redis==5.3.1", "hiredis==3.5.0", "uvloop==0.23.0"),
        {"tuned": 6_000},
        "tuned",
        (4_000, 8_000),
    ),
    "taskiq": Peer(
        "taskiq",
        "with_taskiq.py",
        ("taskiq==0.13.0", "taskiq-redis==1.2.4", *CLIENT),
        {"default": 10_000},
        "default",
        (4_000, 6_000),
    ),
    "dramatiq": Peer(
        "dramatiq",
        "with_dramatiq.py",
        ("dramatiq[redis]==2.2.1", "redis==8.1.0", "hiredis==3.5.0"),
        {"eight threads": 5_000},
        "eight threads",
        (4_000, 6_000),
    ),
    "bullmq": Peer(
        "BullMQ",
        "with_bullmq.py",
        ("bullmq==3.4.4", *CLIENT),
        {"one": 6_000, "hundred": 6_000},
        "one",
        (4_000, 20_000),
    ),
    "streaq": Peer(
        "streaQ",
        "with_streaq.py",
        ("streaq==7.2.0", "coredis==6.9.0", "uvloop==0.23.0"),
        {"default": 4_000},
        "default",
        (3_000, 10_000),
    ),
}
NAMES = tuple(PEERS)
OURS = Peer(
    "Runnel", "with_runnel.py", (), {"one": 200_000, "batch": 250_000}, "listen", (6_000, 40_000)
)
#: Records sent at 200 a second.
PACED = 1_000


def measure(bench: Bench) -> Iterator[Row]:
    """Rows for each peer that was asked for; what cannot be installed is left out with its reason.

    Ratios are Runnel's figure to the peer's: how many times as fast, or how much of the wait.
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
    rounds = 2 if bench.quick else 3
    here = Path(sys.executable)
    for variant, events in peer.throughput.items():
        ours = "batch" if variant == "batch" else "one"
        runs = {
            "peer": partial(_throughput, peer, python, variant, events),
            "ours": partial(_throughput, OURS, here, ours, OURS.throughput[ours]),
        }
        row = Row(f"{name}-{variant}", f"{peer.title}: {variant}", "events/s", [])
        yield _filled(row, bench.interleaved(runs, rounds), "rate")
    for action, way in (("send", 0), ("send-many", 1)):
        runs = {
            "peer": partial(_sending, peer, python, action, peer.sends[way]),
            "ours": partial(_sending, OURS, here, action, OURS.sends[way]),
        }
        title = f"{peer.title}: {action.replace('-', ' ')}"
        row = Row(f"{name}-{action}", title, "records/s", [])
        yield _filled(row, bench.interleaved(runs, rounds), "rate")
    runs = {
        "peer": partial(_latency, peer, python, peer.listens),
        "ours": partial(_latency, OURS, here, OURS.listens),
    }
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


def _start(
    peer: Peer, python: Path, server: Server, action: str, count: int, variant: str
) -> Child:
    command = [str(python), str(SCRIPTS / peer.script), action, str(count), variant]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["PEER_REDIS_URL"] = server.url
    if peer is OURS:
        environment["PYTHONPATH"] = str(ROOT)
    return Child(command, SCRIPTS, environment)


def _throughput(peer: Peer, python: Path, variant: str, events: int) -> Sample:
    """Without the first tenth."""
    with Server() as server:
        with _start(peer, python, server, "preload", events, variant) as child:
            child.hear("sent")
        with _start(peer, python, server, "work", events, variant) as child:
            line = child.hear_line("started")
            handled = child.hear("handled")
    return {"rate": line["events"] / (handled - line["started"])}


def _sending(peer: Peer, python: Path, action: str, count: int) -> Sample:
    with Server() as server, _start(peer, python, server, action, count, "-") as child:
        return {"rate": child.hear("rate")}


def _latency(peer: Peer, python: Path, variant: str) -> Sample:
    with (
        Server() as server,
        _start(peer, python, server, "paced", PACED, variant) as sender,
    ):
        sender.hear("ready")
        with _start(peer, python, server, "listen", 0, variant) as reader:
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
