"""Choosing tests, and no silent holes: on CI a skip whose reason is not known fails the run."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

from runnel.connection.url import parse

#: How the reasons begin that even CI may have for leaving a test out.
ALLOWED = ("no Docker engine", "no server program", "only on ")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--docker` runs the tests in ``tests/docker`` too, `--soak` the short soaks, `--no-skips`
    allows no skip at all, `--deployment` has all tests share sentinels or a cluster."""
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
    """Leave Docker's tests and the soaks out unless they are asked for, and skip what is not for
    the kind of deployment that is shared."""
    asked = {"docker": config.getoption("--docker"), "soak": config.getoption("--soak")}
    left_out = [name for name, wanted in asked.items() if not wanted]
    unasked = [item for item in items if any(map(item.get_closest_marker, left_out))]
    if unasked:
        config.hook.pytest_deselected(items=unasked)
        items[:] = [item for item in items if item not in unasked]
    for item in items:
        mark = item.get_closest_marker("only_on")
        if mark and shared_kind(config) not in mark.args:
            item.add_marker(pytest.mark.skip(reason=f"only on {' or '.join(mark.args)}"))


def shared_kind(config: pytest.Config) -> str:
    """Whether the tests share a server, sentinels or a cluster."""
    given = os.environ.get("RUNNEL_TEST_REDIS_URL")
    return parse(given).kind if given else str(config.getoption("--deployment"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skipped test."""
    report = yield
    _forbid_skip(report, item.config)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A skipped module."""
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
