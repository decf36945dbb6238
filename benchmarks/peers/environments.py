"""Makes a virtual environment for each peer, and keeps it under ``.runnel/peers``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.children import ROOT

FOLDER = ROOT / ".runnel" / "peers"


class NotInstalled(Exception):
    """A peer could not be installed; the message says why."""


def environment(name: str, requirements: Sequence[str], version: str) -> tuple[Path, str]:
    """The Python of the peer's environment, which is made if it does not exist, and the versions in
    it.

    `version` is the version of Python that it needs, empty for this one. Raises NotInstalled.
    """
    folder = FOLDER / name
    python, stamp = folder / "bin" / "python", folder / "installed.json"
    wanted = [version, *requirements]
    if not (stamp.exists() and json.loads(stamp.read_text()) == wanted):
        shutil.rmtree(folder, ignore_errors=True)
        _run([_python(version), "-m", "venv", str(folder)])
        _run([str(python), "-m", "pip", "install", "--quiet", *requirements])
        stamp.write_text(json.dumps(wanted))
    found = _run([str(python), "--version"]).removeprefix("Python ").strip()
    pinned = " ".join(each for each in requirements if "==" in each)
    return python, f"Python {found}, {pinned}"


def _python(version: str) -> str:
    if not version:
        return sys.executable
    for candidate in _candidates(version):
        try:
            _run([candidate, "-c", ""])
        except NotInstalled:
            continue
        return candidate
    raise NotInstalled(f"it needs Python {version}, and python{version} was not found")


def _candidates(version: str) -> Iterator[str]:
    """Interpreters on PATH and of pyenv."""
    if found := shutil.which(f"python{version}"):
        yield found
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for each in sorted(root.glob(f"versions/{version}.*/bin/python"), reverse=True):
        yield str(each)


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or str(error)
        raise NotInstalled(f"{' '.join(command[:4])} failed: {reason.strip()[-500:]}") from error
    return done.stdout
