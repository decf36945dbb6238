"""Checks out another revision of the repository, to measure it beside this one in one run."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.children import ROOT, Tree


class NoSuchRevision(Exception):
    """The repository has no revision of that name."""


@contextmanager
def revision(name: str) -> Iterator[Tree]:
    """The tree of a revision, in a folder that is removed when the context ends.

    It runs with these benchmarks and the packages of this environment: only its ``runnel`` and
    ``lua`` are old. Raises NoSuchRevision.
    """
    folder = Path(tempfile.mkdtemp(prefix="runnel-bench-old-")) / "tree"
    made = _git("worktree", "add", "--detach", str(folder), name)
    if made.returncode:
        raise NoSuchRevision(f"git knows no revision {name!r}: {made.stderr.strip()}")
    try:
        shutil.rmtree(folder / "benchmarks", ignore_errors=True)
        yield Tree("old", folder)
    finally:
        _git("worktree", "remove", "--force", str(folder))
        shutil.rmtree(folder.parent, ignore_errors=True)


def short(name: str) -> str:
    """The short id of a revision."""
    return _git("rev-parse", "--short", name).stdout.strip()


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
