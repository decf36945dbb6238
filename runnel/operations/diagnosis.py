"""Finds what is not as it should be for production: server, memory, persistence, state.

What cannot work at all is refused by `runnel.preflight`; this is about what works until it does
not. Nothing is written.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from redis.asyncio import Redis, SSLConnection
from redis.exceptions import NoPermissionError, ResponseError

from runnel.protocol.scripts import Scripts

Json = dict[str, Any]

#: Seconds by which the server's clock may differ from that of this machine.
CLOCK = 1.0
#: The part of maxmemory from which memory is nearly used up.
NEARLY_FULL = 0.8


class Finding(NamedTuple):
    """One thing that was looked at: is it well, what was found, and what to do if it is not: in
    words, or a command in each line, with words behind a #."""

    subject: str
    well: bool
    text: str
    fix: str = ""


async def redis_clis(scripts: Scripts) -> list[str]:
    """The beginning of a command to each primary."""
    return [redis_cli(node) for node in await scripts.deployment.primaries()]


def redis_cli(node: Redis) -> str:
    """The beginning of a command to a server: one without an address would change another one. It
    has no login, which nobody must read over a shoulder; REDISCLI_AUTH may hold the password."""
    pool = node.connection_pool
    options = pool.connection_kwargs
    if "path" in options:
        return f"redis-cli -s {shlex.quote(options['path'])}"
    # Behind sentinels it is the primary that was found; nothing is known before the first call.
    found = getattr(pool, "master_address", None)
    host, port = found or (options.get("host", "HOST"), options.get("port", 6379))
    tls = " --tls" if issubclass(pool.connection_class, SSLConnection) else ""
    return f"redis-cli -h {shlex.quote(str(host))} -p {port}{tls}"


async def of_servers(scripts: Scripts) -> list[Finding]:
    """Clock, memory and persistence of each primary. What several have in common is one finding,
    with the commands to each of them."""
    found: list[Finding] = []
    for node in await scripts.deployment.primaries():
        cli = redis_cli(node)
        before = time.time()
        seconds, micros = await node.time()
        after = time.time()
        offset = int(seconds) + int(micros) / 1e6 - (before + after) / 2
        found.append(clock(offset, (after - before) / 2))
        try:
            info = await node.info("everything")
        except (NoPermissionError, ResponseError):
            text = "memory and persistence are unknown: the Redis user may not run INFO"
            fix = f"{cli} ACL SETUSER NAME +info   # NAME: the user of Runnel"
            found.append(Finding("server", False, text, fix))
            continue
        found += [*memory(info, cli), *persistence(info, cli)]
    fixes: dict[Finding, dict[str, None]] = {}
    for each in found:
        fixes.setdefault(each._replace(fix=""), {}).update(dict.fromkeys(each.fix.splitlines()))
    return [each._replace(fix="\n".join(lines)) for each, lines in fixes.items()]


def clock(offset: float, error: float = 0.0) -> Finding:
    """The server's clock against that of this machine: it is `offset` seconds ahead, more or less
    by the `error`."""
    if abs(offset) <= CLOCK + error:
        return Finding("clock", True, "the server's clock is within 1 s of this machine's")
    ahead = f"{abs(offset):.1f} s {'ahead of' if offset > 0 else 'behind'} this machine's"
    text = f"the server's clock is {ahead}: delayed events go by the server's"
    return Finding("clock", False, text, "keep both machines in step with NTP")


def memory(info: Mapping[str, Any], cli: str) -> Iterator[Finding]:
    """How much memory the server may use, and uses."""
    used, most = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if not most:
        yield Finding(
            "memory",
            False,
            f"Redis has no limit (maxmemory is not set): it uses {megabytes(used)}, and when the "
            "machine has no more, the system kills it",
            f"{cli} CONFIG SET maxmemory {_most(info) or 'BYTES'}   # three quarters of the "
            "machine's memory: when that is full, senders are refused",
        )
        return
    part = used / most
    fix = f"{cli} CONFIG SET maxmemory {_most(info, most) or 'BYTES'}   # more than it has now"
    yield Finding(
        "memory",
        part < NEARLY_FULL,
        f"Redis uses {megabytes(used)} of the {megabytes(most)} that it may ({part:.0%})",
        "" if part < NEARLY_FULL else fix,
    )


def persistence(info: Mapping[str, Any], cli: str) -> Iterator[Finding]:
    """What a restart of the server loses."""
    fix = f"{cli} CONFIG SET appendonly yes\n{cli} CONFIG REWRITE   # for its next start"
    if int(info.get("aof_enabled", 0)):
        written = str(info.get("aof_last_write_status", "ok")) == "ok"
        text = "an append-only file" if written else "the append-only file cannot be written"
        yield Finding("persistence", written, text, "" if written else "see the disk of the server")
    elif int(info.get("rdb_last_save_time", 0)) and int(info.get("rdb_saves", 1)):
        text = "no append-only file: a restart loses what came after the last snapshot"
        yield Finding("persistence", False, text, fix)
    else:
        text = "neither an append-only file nor snapshots: a restart loses everything"
        yield Finding("persistence", False, text, fix)
    if str(info.get("rdb_last_bgsave_status", "ok")) != "ok":
        text = "the last snapshot failed: with stop-writes-on-bgsave-error Redis refuses to write"
        yield Finding("snapshots", False, text, "see the log and the disk of the server")


def of_state(
    report: Json, declared: frozenset[tuple[str, str]] | None, at: str = ""
) -> Iterator[Finding]:
    """What nobody runs or reads, by a report of `inspect`. `declared` has the stream and the name
    of each processor of the code; None without code. `at` is the option by which commands find the
    Redis that was looked at."""
    read = {(each["app"], each["stream"]) for each in report["processors"]}
    for each in report["streams"]:
        name = f"{each['app']}/{each['name']}"
        if (each["app"], each["name"]) not in read and each["retain"] != "until_full":
            yield Finding(
                f"stream {name}",
                False,
                f"no processor reads it: its {each['length']} events stay until it is full",
                f"runnel worker MODULE:APP{at}   # with the app that reads it",
            )
    for each in report["processors"]:
        subject = f"processor {each['app']}/{each['name']}"
        pair = each["stream"], each["name"]
        registered = any(row["checkpoint"] is not None for row in each["partitions"])
        if declared is not None and pair not in declared and registered:
            remove = f"runnel processor remove {each['stream']}@{each['name']} --app {each['app']}"
            lag = _events(each["lag_events"])
            text = f"the code does not declare it, and events are kept for it; lag {lag}"
            yield Finding(subject, False, text, f"{remove}{at}   # if it is gone for good")
        elif each["state"] == "down":
            text = "it is not registered: no worker has started"
            if registered:
                text = f"no worker runs it; lag {_events(each['lag_events'])}"
            yield Finding(subject, False, text, f"runnel worker MODULE:APP{at}")
        elif each["state"] != "ok":
            look = f"runnel inspect {each['app']}/{each['name']}{at}"
            yield Finding(subject, False, f"it is {each['state']}", look)


def _events(count: int | None) -> str:
    return f"{'?' if count is None else count} event{'' if count == 1 else 's'}"


def _most(info: Mapping[str, Any], least: int = 0) -> str:
    """Three quarters of the memory of the server's machine, as Redis takes it; empty if that is
    unknown, or no more than `least` bytes."""
    most = int(info.get("total_system_memory", 0)) * 3 // 4
    return f"{most // 1_000_000}mb" if most > least else ""


def megabytes(count: int) -> str:
    """A number of bytes, for people."""
    return f"{count / 1_000_000:.3g} MB" if count < 10**9 else f"{count / 10**6:,.0f} MB"
