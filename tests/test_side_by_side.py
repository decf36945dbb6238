"""Tests in several processes: who gets which, and that nothing of a run is lost on the way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import side_by_side
from tests.side_by_side import APART, FIRST, TOGETHER, scope

ROOT = Path(__file__).parents[1]
#: Replaces scripts/bootstrap, which would make an environment.
BOOTSTRAP = f'cd "$(dirname "$0")/.."; export PATH="{Path(sys.executable).parent}:$PATH"\n'
#: No plugins but the two that matter here: to load the others takes longer than the tests.
ISOLATED = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


@pytest.mark.parametrize("path", FIRST)
def test_what_the_tables_name_exists(path: str) -> None:
    assert (ROOT / path).exists()
    assert (ROOT / path).is_file() == path.endswith(".py")


def test_the_tests_of_a_file_stay_together() -> None:
    assert scope("tests/lua/test_a.py::test_b[c::d]") == scope("tests/lua/test_a.py::test_e")
    assert scope("tests/lua/test_a.py::test_b") != scope("tests/lua/test_f.py::test_b")


@pytest.mark.parametrize("folders", TOGETHER, ids=" ".join)
def test_the_tests_of_folders_that_share_something_stay_together(folders: tuple[str, ...]) -> None:
    assert len({scope(f"{folder}/test_{n}.py::test") for folder in folders for n in "ab"}) == 1


@pytest.mark.parametrize("file", APART)
def test_the_tests_of_a_long_file_go_anywhere(file: str) -> None:
    assert scope(f"{file}::test_a[1]") != scope(f"{file}::test_a[2]")


class Project:
    """A folder with scripts/test, a scripts/check that does as it is told, and some tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "scripts").mkdir()
        shutil.copy(ROOT / "scripts/test", folder / "scripts")
        (folder / "scripts/bootstrap").write_text(BOOTSTRAP)
        shutil.copy(side_by_side.__file__, folder)
        (folder / "pytest.ini").write_text("[pytest]\naddopts = -p xdist -p side_by_side\n")
        (folder / "test_a.py").write_text("def test_a(): pass\ndef test_b(): pass\n")
        (folder / "test_c.py").write_text("def test_d(): pass\n")
        self.check("echo all is tidy")

    def check(self, *lines: str) -> None:
        path = self.folder / "scripts/check"
        path.write_text("\n".join(["#!/usr/bin/env bash", *lines, ""]))
        path.chmod(0o755)

    def test(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run scripts/test, whose output comes together, in the order in which it is printed."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTEST", "RUNNEL"))
        }
        return subprocess.run(
            ["scripts/test", *arguments],
            cwd=self.folder,
            env={**inherited, **ISOLATED, "PYTHONPATH": str(self.folder), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_the_tests_run_in_several_processes_and_end_with_one_line(project: Project) -> None:
    done = project.test()
    assert done.returncode == 0
    count = (os.cpu_count() or 1) + 1
    assert f"created: {count}/{count} workers" in done.stdout
    assert "3 passed" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [(("-n", "0"), {}), ((), {"RUNNEL_TEST_REDIS_URL": "redis://127.0.0.1:1"})],
    ids=["option", "one server for all"],
)
def test_there_is_one_process_if_it_is_asked_for_or_the_server_is_shared(
    project: Project, arguments: tuple[str, ...], environment: dict[str, str]
) -> None:
    done = project.test(*arguments, **environment)
    assert done.returncode == 0
    assert "workers" not in done.stdout
    assert "3 passed" in done.stdout.splitlines()[-1]


def test_several_processes_on_one_server_are_refused(project: Project) -> None:
    done = project.test("-n", "2", RUNNEL_TEST_REDIS_URL="redis://127.0.0.1:1")
    assert done.returncode != 0
    assert "RUNNEL_TEST_REDIS_URL is one server for all tests: leave -n out" in done.stdout


def test_what_is_logged_need_not_be_valid_text(project: Project) -> None:
    (project.folder / "test_c.py").write_text(
        "import logging\ndef test_d():\n    logging.warning(chr(0xD800))\n    assert False\n"
    )
    done = project.test()
    assert "\\ud800" in done.stdout
    assert "1 failed, 2 passed" in done.stdout.splitlines()[-1]


def test_a_failed_test_fails_the_run(project: Project) -> None:
    (project.folder / "test_c.py").write_text("def test_d(): assert False\n")
    done = project.test()
    assert done.returncode == 1
    assert "1 failed, 2 passed" in done.stdout.splitlines()[-1]


def test_a_failed_check_fails_the_run_and_is_shown_at_its_end(project: Project) -> None:
    project.check("echo a.py:1: this is wrong", "exit 1")
    done = project.test()
    assert done.returncode == 1
    *_, tests, wrong, said = done.stdout.splitlines()
    assert "3 passed" in tests
    assert (wrong, said) == ("a.py:1: this is wrong", "scripts/check failed, as shown above.")
