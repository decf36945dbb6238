"""scripts/release refuses a release that is not ready, and a release works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.git import git
from tests.installed import pythons

ROOT = Path(__file__).parents[1]
#: Replaces scripts/bootstrap, which would make an environment for each clone.
BOOTSTRAP = f'cd "$(dirname "$0")/.."; export PATH="{Path(sys.executable).parent}:$PATH"\n'


class Clone:
    """A new repository with the files of this one, committed or not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        paths = git(ROOT, "ls-files", "-z", "-co", "--exclude-standard").stdout
        for path in filter(None, paths.split("\0")):
            if (ROOT / path).exists():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / path, folder / path)
        (folder / "scripts/bootstrap").write_text(BOOTSTRAP)
        git(folder, "init")
        self.commit()

    def commit(self) -> None:
        git(self.folder, "add", "--all")
        git(self.folder, "commit", "--message", "All")

    def change(self, path: str, old: str, new: str) -> None:
        """Replace the first match of a pattern in a file."""
        text = (self.folder / path).read_text()
        changed = re.sub(old, new, text, count=1, flags=re.M)
        assert changed != text
        (self.folder / path).write_text(changed)

    def release(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run scripts/release in the clone."""
        command = [str(self.folder / "scripts/release"), *options]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def refusal(self, *options: str) -> str:
        """The message of scripts/release, which must refuse and leave no files."""
        done = self.release(*options)
        assert done.returncode == 1, done.stdout
        assert not (self.folder / "dist").exists()
        return done.stderr


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """The project with version 1.2.0, ready to be released."""
    clone = Clone(tmp_path / "clone")
    clone.change("pyproject.toml", '^version = ".*"$', 'version = "1.2.0"')
    clone.change("CHANGELOG.md", "^## .*$", "## 1.2.0 (2026-12-01)")
    clone.commit()
    return clone


def test_a_development_version_is_not_released(clone: Clone) -> None:
    clone.change("pyproject.toml", '^version = ".*"$', 'version = "1.2.0.dev0"')
    assert "1.2.0.dev0 is a development version" in clone.refusal()


@pytest.mark.parametrize("heading", ["Unreleased", "1.1.0 (2026-11-01)", "1.2.0", "1.2.0.1 (2026)"])
def test_the_changelog_begins_with_the_version_and_its_day(clone: Clone, heading: str) -> None:
    clone.change("CHANGELOG.md", "^## .*$", f"## {heading}")
    assert f'"## {heading}"; it must be "## 1.2.0 (YEAR-MONTH-DAY)"' in clone.refusal()


def test_a_rehearsal_is_for_a_development_version_only(clone: Clone) -> None:
    assert "leave --rehearse out" in clone.refusal("--rehearse")
    clone.change("pyproject.toml", '^version = ".*"$', 'version = "1.3.0.dev0"')
    assert 'it must be "## Unreleased"' in clone.refusal("--rehearse")


@pytest.mark.parametrize("path", ["lua/commit.lua", "runnel/new.py"])
def test_uncommitted_changes_are_not_released(clone: Clone, path: str) -> None:
    with (clone.folder / path).open("a") as file:
        file.write("\n")
    assert f"1 files have uncommitted changes, the first is {path}" in clone.refusal()


def test_a_version_is_released_once(clone: Clone) -> None:
    git(clone.folder, "tag", "v1.2.0")
    assert "the tag v1.2.0 exists already" in clone.refusal()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('^lua = "runnel/lua"$', "", "the wheel lacks runnel/lua/"),
        (r'^packages = \["runnel"\]$', r'\g<0>\nexclude = ["py.typed"]', "lacks runnel/py.typed"),
        (
            r"^\[tool.hatch.build.targets.wheel\]$",
            '[tool.hatch.build.targets.sdist]\nexclude = ["/docs"]\n\\g<0>',
            "the sdist lacks docs/",
        ),
    ],
    ids=["lua", "py.typed", "docs"],
)
def test_a_package_that_lacks_a_file_is_not_released(
    clone: Clone, old: str, new: str, message: str
) -> None:
    clone.change("pyproject.toml", old, new)
    clone.commit()
    assert message in clone.refusal()


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_wheel_that_does_not_work_outside_the_repository_is_not_released(clone: Clone) -> None:
    clone.change("pyproject.toml", '^  "cronsim.*",$', "")
    clone.commit()
    assert "No module named 'cronsim'" in clone.refusal()


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_release_leaves_a_wheel_and_an_sdist_that_passed_the_demo(clone: Clone) -> None:
    done = clone.release()
    assert done.returncode == 0, done.stderr
    assert "all checks hold" in done.stdout
    assert "installing runnel-1.2.0.tar.gz" in done.stdout
    others = pythons().keys() - {"{}.{}".format(*sys.version_info)}
    assert done.stdout.count("installing runnel-1.2.0-py3-none-any.whl") == len(others)
    names = ["runnel-1.2.0-py3-none-any.whl", "runnel-1.2.0.tar.gz"]
    assert sorted(os.listdir(clone.folder / "dist")) == names
    assert "nothing has been uploaded" in done.stdout
    assert "git tag -a v1.2.0" in done.stdout
