"""Watches the code of an app, for `runnel worker --reload`."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from runnel.cli import exits


def directories(target: str, given: Sequence[str]) -> list[Path]:
    """The directories to watch: those that are given, else that of the app's code."""
    if given:
        return [Path(each).resolve() for each in given]
    here = Path.cwd()
    found = _directory_of(target.partition(":")[0].partition(".")[0])
    if found is None or found.is_relative_to(here):
        return [here]
    return [found]


def _directory_of(name: str) -> Path | None:
    """The directory of a module or package, which is not imported."""
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None  # The worker says what is wrong.
    if spec is None or not spec.origin or not os.path.exists(spec.origin):
        return None
    return Path(spec.origin).resolve().parent


def watch(folders: Sequence[Path], changed: Callable[[list[str]], None]) -> None:
    """Call `changed` in a thread with the names of Python files that have changed."""
    try:
        import watchfiles
    except ImportError:
        exits.fail("--reload needs watchfiles: pip install 'runnel[reload]'", exits.USAGE)
    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # It counts changes, without names.
    changes = watchfiles.watch(
        *folders, watch_filter=watchfiles.PythonFilter(), raise_interrupt=False
    )

    def run() -> None:
        for each in changes:
            changed(_names(path for _, path in each))

    threading.Thread(target=run, name="runnel-reload", daemon=True).start()


def _names(paths: Iterable[str]) -> list[str]:
    here = Path.cwd()
    found = [Path(each) for each in paths]
    return sorted(
        {str(each.relative_to(here) if each.is_relative_to(here) else each) for each in found}
    )
