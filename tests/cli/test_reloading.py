"""Workers start again when their code changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from runnel.cli.reloading import directories
from tests.cli.conftest import ROOT, Run
from tests.cli.supervising import APP, Supervised, alive, supervised
from tests.worker.workers import until

__all__ = ["supervised"]


@pytest.mark.parametrize("count", [1, 2])
async def test_a_change_starts_them_again_and_a_wrong_one_is_waited_for(
    supervised: Supervised, count: int
) -> None:
    supervised.start("--reload", *(["--processes", str(count)] if count > 1 else []))
    first = await supervised.heard("begun1", count)
    assert f"for development: starts again when a Python file changes in {supervised.folder}" in (
        supervised.log
    )
    supervised.write(APP.replace("VERSION = 1", "VERSION = 2"))
    second = await supervised.heard("begun2", count)
    assert sorted(supervised.said("ended")) == sorted(first)
    assert not any(map(alive, first))
    assert "fleet_app.py changed: starting again" in supervised.log
    assert "change detected" not in supervised.log
    supervised.write("import (")
    waits = "ended with exit code 2: waiting for a change of the code"
    await until(lambda: supervised.log.count(waits) == count, "it waits for a change")
    assert "SyntaxError: invalid syntax" in supervised.log
    assert sorted(supervised.said("ended")) == sorted([*first, *second])
    supervised.write(APP.replace("VERSION = 1", "VERSION = 3"))
    third = await supervised.heard("begun3", count)
    supervised.signal()
    assert supervised.ended() == 0
    assert sorted(supervised.said("ended")) == sorted([*first, *second, *third])


async def test_a_burst_runs_at_each_change(supervised: Supervised) -> None:
    supervised.start("--reload", "--burst")
    waits = "ended with exit code 0: waiting for a change of the code"
    await until(lambda: waits in supervised.log, "it waits for a change")
    supervised.write(APP)
    await until(lambda: supervised.log.count(waits) == 2, "it waits for the next one")
    supervised.signal()
    assert supervised.ended() == 0


async def test_it_watches_the_directory_that_is_given(supervised: Supervised) -> None:
    other = supervised.folder / "other"
    other.mkdir()
    supervised.start("--reload", "--reload-dir", str(other))
    await supervised.heard("begun1", 1)
    (supervised.folder / "fleet_app.py").touch()
    (other / "some.txt").touch()
    (other / "some.py").touch()
    await supervised.heard("begun1", 2)
    assert "other/some.py changed: starting again" in supervised.log
    assert supervised.log.count(" changed: ") == 1
    supervised.signal()
    assert supervised.ended() == 0


def test_without_watchfiles_it_says_what_to_install(spawn: Run, tmp_path: Path) -> None:
    (tmp_path / "watchfiles.py").write_text("raise ImportError\n")
    path = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = spawn("worker", "tests.cli.shop:app", "--reload", env=path)
    assert done.code == 2
    assert done.stderr == "error: --reload needs watchfiles: pip install 'runnel[reload]'\n"


def test_a_directory_alone_is_refused(run: Run) -> None:
    done = run("worker", "tests.cli.shop:app", "--reload-dir", "tests")
    assert done.code == 2
    assert "--reload-dir goes with --reload" in done.stderr


def test_the_directory_is_that_of_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here, package, elsewhere = tmp_path / "own.py", tmp_path / "pack", tmp_path / "lib"
    here.touch()
    for each in (package, elsewhere / "far"):
        each.mkdir(parents=True)
        (each / "__init__.py").write_text("raise AssertionError('it was imported')")
    assert directories("own:app", []) == [tmp_path]
    assert directories("pack.orders:app", []) == [tmp_path]
    assert directories("unknown:app", []) == [tmp_path]
    below = tmp_path / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    monkeypatch.syspath_prepend(str(elsewhere))
    assert directories("far.orders:app", []) == [elsewhere / "far"]
    assert directories("far:app", ["../pack"]) == [package]
