"""`runnel init`: a project that works as it is written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from redis.asyncio import Redis

from tests.cli.conftest import ROOT, Run


def test_its_test_passes_and_its_commands_work(
    redis: Redis, redis_url: str, run: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "services" / "shop"
    done = run("init", "orders_of_ada", "--folder", str(folder))
    assert done.code == 0
    names = ["orders_of_ada.py", "test_orders_of_ada.py", "compose.yaml"]
    assert sorted(each.name for each in folder.iterdir()) == sorted(names)
    environment = {**os.environ, "RUNNEL_REDIS_URL": redis_url, "PYTHONPATH": str(ROOT)}

    def python(*arguments: str) -> str:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert "1 passed" in python("-m", "pytest", "-q", "-p", "no:cacheprovider")
    for amount in (5, 2):
        event = f'{{"customer": "ada", "amount": {amount}}}'
        python("-m", "runnel", "send", "orders_of_ada:orders", event)
    python("-m", "runnel", "worker", "orders_of_ada:app", "--burst")
    assert python("-m", "runnel", "table", "get", "orders_of_ada:totals", "ada").strip() == "7"
    services = yaml.safe_load((folder / "compose.yaml").read_text())["services"]
    assert "orders_of_ada:app" in services["worker"]["command"]
    # Without a floor, PyPI may give the Runnel of 2020.
    assert "ignore 'runnel>=1' &&" in services["worker"]["command"]


def test_nothing_is_overwritten(run: Run, tmp_path: Path) -> None:
    (tmp_path / "test_shop.py").write_text("mine")
    done = run("init", "shop", "--folder", str(tmp_path))
    assert done.code == 2
    assert "test_shop.py exists already" in done.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["test_shop.py"]


def test_several_files_that_exist_are_told(run: Run, tmp_path: Path) -> None:
    assert run("init", "shop", "--folder", str(tmp_path)).code == 0
    done = run("init", "shop", "--folder", str(tmp_path))
    assert done.code == 2
    assert "compose.yaml exist already" in done.stderr


def test_a_reserved_word_is_told(run: Run) -> None:
    assert "'class' is a reserved word of Python" in run("init", "class").stderr


@pytest.mark.parametrize("name", ["9x", "a-b", "class", "ü", "", "runnel", "a/b"])
def test_a_name_that_is_no_module_is_refused(run: Run, tmp_path: Path, name: str) -> None:
    done = run("init", name, "--folder", str(tmp_path))
    assert done.code == 2
    assert "module" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", ["asyncio", "json", "logging", "typing", "secrets", "redis", "click", "pydantic"]
)
def test_a_module_that_others_import_is_not_hidden(run: Run, tmp_path: Path, name: str) -> None:
    done = run("init", name, "--folder", str(tmp_path))
    assert done.code == 2
    assert f"a module {name} would hide " in done.stderr
    assert not list(tmp_path.iterdir())


def test_an_installed_module_is_not_hidden_and_what_is_here_is_not_installed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, here = tmp_path / "here" / ".venv" / "site", tmp_path / "here"
    site.mkdir(parents=True)
    monkeypatch.chdir(here)
    for path in ("", str(site)):
        monkeypatch.syspath_prepend(path)
    (site / "billing.py").write_text("")
    (site / "mailing").mkdir()
    (site / "mailing" / "__init__.py").write_text("")
    (here / "pages").mkdir()
    (here / "shop.py").write_text("")
    for name in ("billing", "mailing"):
        assert f"would hide {site}" in run("init", name).stderr
    assert run("init", "pages").code == 0
    assert run("init", "shop", "--folder", "services").code == 0
    assert "shop.py, compose.yaml exist already" in run("init", "shop").stderr


def test_a_folder_that_cannot_be_written_is_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("init", "shop", "--folder", str(tmp_path / "file" / "inside"))
    assert done.code == 2
    assert done.stderr.startswith("error: cannot write to ")
