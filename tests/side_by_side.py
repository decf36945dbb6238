"""How the tests are shared out where ``scripts/test`` runs them in several processes.

A file goes to one process, as a whole. `APART` names the files that take so long that each of their
tests goes to whichever process is free, and `TOGETHER` what must not run beside itself. Both begin
first, the longest at the top: so the processes end at about the same time.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Generator
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

#: Folders whose tests run one after the other: they share networks and addresses, bring load enough
#: for themselves, or start fleets of servers once for all their tests.
TOGETHER = (("tests/docker", "tests/soak"), ("tests/deployments",))
#: Files whose tests take long and need nothing of each other.
APART = (
    "tests/simulation/test_planted.py",
    "tests/simulation/test_simulation.py",
    "tests/test_release.py",
    "tests/typing/test_decorators.py",
    "tests/incidents/test_incidents.py",
)
FIRST = (*itertools.chain(*TOGETHER), *APART, "tests/clients", "tests/test_proof.py")


class SideBySide(LoadScopeScheduling):  # type: ignore[misc]
    """Hands out files, except as the tables above say, in the order in which they are collected."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return scope(nodeid)


def scope(nodeid: str) -> str:
    """What a test is handed out with: tests of one scope go to one process, in their order."""
    file = nodeid.partition("::")[0]
    if file in APART:
        return nodeid
    for folders in TOGETHER:
        if file.startswith(tuple(f"{each}/" for each in folders)):
            return " ".join(folders)
    return file


def pytest_configure(config: pytest.Config) -> None:
    """Refuse several processes on one server: each test erases its data."""
    if os.environ.get("RUNNEL_TEST_REDIS_URL") and config.getoption("numprocesses", None):
        raise pytest.UsageError("RUNNEL_TEST_REDIS_URL is one server for all tests: leave -n out")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are cores: most tests wait more than they work."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> SideBySide | None:
    """This scheduler, unless another way than by file is asked for."""
    return SideBySide(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In one of several processes, the longest come first."""
    if hasattr(config, "workerinput"):
        items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    file = item.nodeid.partition("::")[0]
    turns = (n for n, each in enumerate(FIRST) if file == each or file.startswith(f"{each}/"))
    return next(turns, len(FIRST))


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """A report has what was logged, and goes from process to process as UTF-8: write what is no
    valid text as it is written in code."""
    return _valid((yield))


def _valid(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_valid(key): _valid(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_valid, value))
    return value
