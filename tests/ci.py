"""Selects tests by options, and on CI fails a skipped test whose reason is not allowed."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

from runnel.connection.url import parse

#: Prefixes of the reasons for which a test may be skipped on CI.
ALLOWED = ("no Docker engine", "no server program", "only on ")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--docker` runs the tests in ``tests/docker`` too, `--soak` the short soaks, `--no-skips`
    forbids every skip, `--deployment` makes all tests share sentinels or a cluster."""
    parser.addoption("--docker", action="store_true", help="run the tests that need Docker too")
    parser.addoption("--soak", action="store_true", help="run the soaks in their short form too")
    parser.addoption("--no-skips", action="store_true", help="a skipped test is a failed one")
    parser.addoption(
        "--deployment",
        choices=("server", "sentinel", "cluster"),
        default="server",
        help="what the tests share: a server, a primary under sentinels, a cluster of 3 masters",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests of Docker and the soaks unless they are requested, and skip tests that are
    not for the shared kind of deployment."""
    requested = {"docker": config.getoption("--docker"), "soak": config.getoption("--soak")}
    excluded = [name for name, is_requested in requested.items() if not is_requested]
    deselected = [item for item in items if any(map(item.get_closest_marker, excluded))]
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if item not in deselected]
    for item in items:
        marker = item.get_closest_marker("only_on")
        if marker and shared_kind(config) not in marker.args:
            item.add_marker(pytest.mark.skip(reason=f"only on {' or '.join(marker.args)}"))


def shared_kind(config: pytest.Config) -> str:
    """What the tests share: "server", "sentinel" or "cluster"."""
    given = os.environ.get("RUNNEL_TEST_REDIS_URL")
    return parse(given).kind if given else str(config.getoption("--deployment"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Check a skipped test."""
    report = yield
    _forbid_skip(report, item.config)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Check a skipped module."""
    report = yield
    _forbid_skip(report, collector.config)
    return report


def _forbid_skip(report: pytest.TestReport | pytest.CollectReport, config: pytest.Config) -> None:
    none_allowed = config.getoption("--no-skips")
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    if not none_allowed and os.environ.get("CI") != "true":
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if none_allowed or not reason.removeprefix("Skipped: ").startswith(ALLOWED):
        report.outcome = "failed"
        report.longrepr = f"skipped where everything must run: {reason}"
