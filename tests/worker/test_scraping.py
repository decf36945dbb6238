"""What monitoring sees is true: under load, at rest, after a hand-over, at the end.

The truth is what was sent without what handlers have finished. It is held against `runnel inspect`,
the exporter, the workers, XINFO and XPENDING as KEDA reads them, and redis_exporter.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis

from runnel import App, keys
from runnel.operations.inspection import inspect
from runnel.preflight.server import check_server
from tests.unit.test_monitoring import FOLDER, RULES, SELECTOR
from tests.worker import scraped
from tests.worker.scraped import DONE, GO, HELD, SENT
from tests.worker.workers import Workers, until

REDIS_EXPORTER = shutil.which("prometheus-redis-exporter")
LOGS = [keys.log(keys.partition("scraped", "orders", each, "orders")) for each in range(4)]


class Monitoring:
    """The workers, and all that looks at them."""

    def __init__(self, redis: Redis, workers: Workers, exporter: subprocess.Popen[str]) -> None:
        self.redis = redis
        self.workers = workers
        self._exporter = exporter
        assert exporter.stderr is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", exporter.stderr.readline())
        assert found
        self.url = found[0]

    def report(self) -> dict[str, Any]:
        """What `runnel inspect --json` prints."""
        done = self.workers.run("inspect", "--app", "scraped", "--json")
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def rows(self) -> list[dict[str, Any]]:
        """The partitions of the report."""
        (processor,) = (each for each in self.report()["processors"] if each["name"] == "billing")
        rows: list[dict[str, Any]] = processor["partitions"]
        return rows

    async def done(self) -> int:
        """How many orders handlers have finished."""
        return int(await self.redis.scard(DONE))

    async def processed(self) -> int:
        """How many are committed, as Redis has it."""
        states = [keys.state(each.removesuffix(":log"), "billing") for each in LOGS]
        found = [await self.redis.hget(each, "processed") for each in states]
        return sum(int(each or 0) for each in found)

    async def processed_is(self, count: int) -> bool:
        """Are so many committed?"""
        return await self.processed() == count

    async def keda_lags(self) -> list[int]:
        """What KEDA's redis-streams scaler takes with `lagCount`: the lag of the group."""
        lags = []
        for log in LOGS:
            groups = await self.redis.xinfo_groups(log)
            (group,) = [each for each in groups if each["name"] in (b"billing", "billing")]
            assert group["lag"] is not None, "KEDA would take it for none"
            lags.append(int(group["lag"]))
        return lags

    async def keda_pending(self) -> int:
        """What it takes with `pendingEntriesCount`."""
        found = [await self.redis.xpending(each, "billing") for each in LOGS]
        return sum(each["pending"] for each in found)

    def metrics_api(self) -> int:
        """What KEDA's metrics-api scaler takes, by the path in the example."""
        value = json.loads(_get(self.url + "/inspect.json"))
        for each in trigger("metrics-api")["valueLocation"].split("."):
            value = value[each]
        assert isinstance(value, int)
        return value

    def exported(self) -> dict[tuple[str, ...], float]:
        """What the exporter tells Prometheus."""
        return samples(_get(self.url + "/metrics"))

    def counted(self) -> dict[tuple[str, ...], float]:
        """What the workers that run tell Prometheus, in total."""
        total: dict[tuple[str, ...], float] = {}
        for port in re.findall(r"http://127\.0\.0\.1:(\d+)/metrics", self.workers.log):
            try:
                found = samples(_get(f"http://127.0.0.1:{port}/metrics"))
            except OSError:  # It was killed.
                continue
            for key, value in found.items():
                total[key] = total.get(key, 0.0) + value
        return total


def _get(url: str) -> str:
    with urlopen(url, timeout=20) as reply:
        text: str = reply.read().decode()
        return text


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Name and values of labels, in the order of their names -> value."""
    return {
        (sample.name, *(sample.labels[each] for each in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(found: dict[tuple[str, ...], float], name: str, *labels: str) -> float:
    """The sum of the samples with this name and these values of labels."""
    return sum(value for key, value in found.items() if key[0] == name and {*labels} <= {*key[1:]})


def trigger(kind: str) -> dict[str, str]:
    """A trigger of the example for KEDA."""
    (found,) = (
        each["metadata"]
        for each in yaml.safe_load((FOLDER / "keda.yaml").read_text())["spec"]["triggers"]
        if each["type"] == kind
    )
    assert isinstance(found, dict)
    return found


@pytest.fixture
def monitoring(redis: Redis, redis_url: str, tmp_path: Path) -> Iterator[Monitoring]:
    workers = Workers(redis_url, tmp_path, "tests.worker.scraped:app")
    command = ["inspect", "--app", "scraped", "--redis-url", redis_url, "--serve", "127.0.0.1:0"]
    exporter = subprocess.Popen(
        [sys.executable, "-m", "runnel", *command], stderr=subprocess.PIPE, text=True
    )
    try:
        yield Monitoring(redis, workers, exporter)
    finally:
        workers.close()
        exporter.kill()
        exporter.communicate()


async def all_say(it: Monitoring, lag: int) -> None:
    """Wait until the report is not older than this, and hold everything against the truth."""
    assert SENT - await it.done() == lag
    rows = it.rows()
    by_partition = [each["lag_events"] for each in rows]
    assert sum(by_partition) == lag
    assert await it.keda_lags() == by_partition
    assert await it.keda_pending() == 0, "no entry is ever pending: the worker remembers it"
    await until(lambda: it.metrics_api() == lag, "the report of the exporter is fresh")
    exported = it.exported()
    assert total(exported, "runnel_partition_lag_events", "billing") == lag
    for row in rows:
        labels = ("scraped", str(row["id"]), "billing", "orders")
        assert exported["runnel_partition_lag_events", *labels] == row["lag_events"]
        assert exported["runnel_partition_processed_events_total", *labels] == row["processed"]


@pytest.mark.only_on("server")
async def test_lags_and_counts_are_true_under_load_and_after_a_hand_over(
    monitoring: Monitoring,
) -> None:
    it, app = monitoring, scraped.app
    app.configure(redis_url=it.workers.url)
    await scraped.orders.send(*[scraped.Order(number=each) for each in range(SENT)])
    await app.close()
    probes = ("--health-port", "0", "--health-host", "127.0.0.1")
    first = it.workers.start("--name", "one", *probes)
    it.workers.start("--name", "two", *probes)

    await until(it.done, "they begin")

    # Under load, nothing may say less than is left, or more than was left just before.
    while await it.done() < HELD:
        most, shown = SENT - await it.processed(), it.metrics_api()
        lag = sum(await it.keda_lags())
        least = SENT - await it.done()
        assert least <= lag <= most
        assert least <= shown <= SENT

    # At rest, with an event in hand in each partition.
    await until(lambda: it.processed_is(HELD), "all that may be is committed")
    await all_say(it, SENT - HELD)
    counted = it.counted()
    assert total(counted, "runnel_events_processed_total", "ok") == HELD
    assert total(counted, "runnel_event_failures_total", "retry") == 1
    assert total(counted, "runnel_event_latency_seconds_count") == HELD
    assert total(counted, "runnel_commit_size_events_sum") == HELD
    assert total(counted, "runnel_events_sent_total", "notes") == 2, "the retry sends again"
    names_are_emitted(it)

    # After a hand-over, because a worker was killed.
    first.send_signal(signal.SIGKILL)
    await until(lambda: {each["owner"] for each in it.rows()} == {"two"}, "the other has them all")
    await all_say(it, SENT - HELD)
    replicas(SENT - HELD)

    await it.redis.lpush(GO, 1)
    await until(lambda: it.processed_is(SENT), "all are committed")
    await all_say(it, 0)


def names_are_emitted(it: Monitoring) -> None:
    """Every metric that the rules, the dashboard and KEDA ask for is there, in this run."""
    text = _get(it.url + "/metrics")
    for port in re.findall(r"http://127\.0\.0\.1:(\d+)/metrics", it.workers.log):
        text += _get(f"http://127.0.0.1:{port}/metrics")
    families = set(re.findall(r"^# TYPE (\S+)", text, re.M))
    dashboard = json.loads((FOLDER / "dashboard.json").read_text())
    asked = [rule["expr"] for rule in RULES]
    asked += [each["expr"] for panel in dashboard["panels"] for each in panel.get("targets", [])]
    asked.append(trigger("prometheus")["query"])
    for expression in asked:
        for name, _ in SELECTOR.findall(expression):
            assert {name, re.sub(r"_(bucket|sum|count)$", "", name)} & families, name


def replicas(lag: int) -> None:
    """By the numbers of the example, KEDA asks for as many workers as the lag needs: the average
    value for each of them is the target."""
    api = trigger("metrics-api")
    assert math.ceil(lag / int(api["targetValue"])) == 1
    assert math.ceil(20 * lag / int(api["targetValue"])) == 16
    assert int(trigger("prometheus")["threshold"]) == int(api["targetValue"])


@pytest.mark.only_on("server")
@pytest.mark.skipif(REDIS_EXPORTER is None, reason="prometheus-redis-exporter is not installed")
async def test_redis_exporter_sees_the_checkpoints(
    redis: Redis, redis_url: str, app_name: str, tmp_path: Path
) -> None:
    assert REDIS_EXPORTER is not None
    app = App(app_name, redis_url=redis_url)
    orders = app.stream("orders", record=scraped.Order, partition_by="number", partition_count=4)

    @app.on(orders)
    async def billing(order: scraped.Order) -> None: ...

    await orders.send(*[scraped.Order(number=each) for each in range(40)])
    await app.run(burst=True)
    await orders.send(*[scraped.Order(number=each) for each in range(20)])
    await app.close()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [REDIS_EXPORTER, "-redis.addr", redis_url, "-web.listen-address", address]
    command += ["-check-streams", f"runnel:{{{app_name}:orders:*}}:orders:log"]
    with (tmp_path / "exporter").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
    try:

        def look() -> dict[tuple[str, ...], float] | None:
            try:
                return samples(_get(f"http://{address}/metrics"))
            except OSError:
                return None

        seen = await until(look, "it listens")
    finally:
        process.kill()
        await process.wait()
    found = await inspect(redis, await check_server(redis, redis_url), app_name)
    rows = found["processors"][0]["partitions"]
    assert sum(each["lag_events"] for each in rows) == 20
    for row in rows:
        log_key = keys.log(keys.partition(app_name, "orders", row["id"], "orders"))
        of_group = ("db0", "billing", log_key)
        checkpoint, last = (int(row[each].partition("-")[0]) for each in ("checkpoint", "last"))
        assert seen["redis_stream_group_last_delivered_id", *of_group] == checkpoint
        assert seen["redis_stream_last_generated_id", "db0", log_key] == last
        assert seen["redis_stream_group_messages_pending", *of_group] == 0
        lag = row["lag_events"]  # That of Debian does not tell it yet.
        assert seen.get(("redis_stream_group_lag", *of_group), lag) == lag
    assert total(seen, "redis_stream_length") == 60
