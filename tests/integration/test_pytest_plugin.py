"""The fixtures for pytest: found by their names, skipped without a server, free if unused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.worker.test_shop_example import INSTALLED, PLUGIN

ROOT = Path(__file__).parent.parent.parent
TESTS = """
import asyncio
import os
import sys
from runnel import App, Record


class Item(Record):
    key: str


app = App("plugged")
items = app.stream("items", record=Item, partition_by="key", partition_count=2)


def test_a_server_answers(runnel_server):
    from runnel.connection.connect import connect_sync
    with connect_sync(runnel_server) as client:
        assert client.ping()


def test_an_app_begins_with_nothing_twice(runnel_app):
    async def main():
        for _ in range(2):
            async with runnel_app(app) as t:
                await t.send(items, Item(key="a"))
                assert await t.sent(items) == [Item(key="a")]
    asyncio.run(main())
"""
UNUSED = """
import sys

def test_nothing_of_runnel_is_imported():
    assert "runnel.pytest_plugin" in sys.modules
    heavy = {"pydantic", "redis", "runnel.testing", "runnel.app", "pytest_asyncio"}
    assert not heavy & sys.modules.keys()
"""


def run(folder: Path, tests: str, **environment: str) -> str:
    (folder / "test_it.py").write_text(tests)
    plugin = () if INSTALLED else ("-p", PLUGIN)
    others = [
        each
        for name in ("asyncio", "timeout", "docker", "hypothesispytest", "anyio")
        for each in ("-p", f"no:{name}")
    ]
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-c", os.devnull, "--rootdir", "."]
    done = subprocess.run(
        [*command, *others, *plugin, "test_it.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_the_fixtures_start_a_server_or_use_the_one_that_is_named(
    tmp_path: Path, redis_url: str
) -> None:
    assert "2 passed" in run(tmp_path, TESTS)
    assert "2 passed" in run(tmp_path, TESTS, RUNNEL_TEST_URL=redis_url, RUNNEL_SERVER_BIN="/no")


def test_without_a_server_the_tests_are_skipped_with_the_reason(tmp_path: Path) -> None:
    said = run(tmp_path, TESTS, RUNNEL_SERVER_BIN="/no/server")
    assert "2 skipped" in said
    assert "RUNNEL_SERVER_BIN=/no/server is not a redis-server" in said


def test_a_session_that_uses_none_of_it_imports_none_of_it(tmp_path: Path) -> None:
    assert "1 passed" in run(tmp_path, UNUSED)


def test_the_package_names_its_plugin() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    assert '[project.entry-points.pytest11]\nrunnel = "runnel.pytest_plugin"' in text
