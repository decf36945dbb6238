"""Choosing tests, and no silent holes: on CI a skip whose reason is not known fails the run.

``RUNNEL_TEST_DOCKER=required`` says that Docker and its images are here: then no skip is allowed.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

#: How the reasons begin that even CI may have for leaving a test out.
ALLOWED = ("no Docker engine", "no server program")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--docker` runs the tests in ``tests/docker`` too."""
    parser.addoption("--docker", action="store_true", help="run the tests that need Docker too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave Docker's tests out unless they are asked for."""
    if config.getoption("--docker"):
        return
    unasked = [item for item in items if item.get_closest_marker("docker")]
    if unasked:
        config.hook.pytest_deselected(items=unasked)
        items[:] = [item for item in items if item not in unasked]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skipped test."""
    report = yield
    _forbid_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A skipped module."""
    report = yield
    _forbid_skip(report)
    return report


def _forbid_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not report.skipped or hasattr(report, "wasxfail") or os.environ.get("CI") != "true":
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    allowed = () if os.environ.get("RUNNEL_TEST_DOCKER") == "required" else ALLOWED
    if not reason.removeprefix("Skipped: ").startswith(allowed):
        report.outcome = "failed"
        report.longrepr = f"skipped on CI, where everything must run: {reason}"
