"""A program that runs a worker itself exposes its metrics in a registry of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

import runnel.metrics
from runnel import App, ConfigError
from runnel.metrics import WorkerMetrics
from tests.worker.inside import Ledger


async def test_a_registry_of_the_program_has_what_its_worker_does(
    redis: Redis, ledger: Ledger
) -> None:
    ledger.processor()
    registry = CollectorRegistry()
    registry.register(WorkerMetrics(ledger.app))
    await ledger.send(*range(7))
    await ledger.app.run(burst=True)
    labels = {"app": ledger.app.name, "processor": "work", "result": "ok"}
    assert registry.get_sample_value("runnel_events_processed_total", labels) == 7
    sent = {"app": ledger.app.name, "stream": "items"}
    assert registry.get_sample_value("runnel_events_sent_total", sent) == 7
    with pytest.raises(ConfigError, match="comes too late"):
        WorkerMetrics(ledger.app)
    await ledger.app.close()


def test_two_apps_have_a_registry_each_or_one_after_the_other() -> None:
    one, two = CollectorRegistry(), CollectorRegistry()
    one.register(WorkerMetrics(App("one")))
    two.register(WorkerMetrics(App("two")))


def test_without_the_package_the_import_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "from runnel.metrics import WorkerMetrics"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == (
        "ImportError: metrics need another package: pip install 'runnel[metrics]'"
    )
    with pytest.raises(AttributeError):
        runnel.metrics.Nothing  # type: ignore[attr-defined]  # noqa: B018
