"""Runs git in repositories that tests make, without the user's own configuration."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_ME = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")


def environment() -> dict[str, str]:
    """The environment without the variables of git and without the user's configuration."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {**kept, "GIT_CONFIG_GLOBAL": os.devnull}


def git(folder: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run git in `folder`. With `check`, raises CalledProcessError if it fails."""
    command = ["git", "-C", str(folder), *_ME, *arguments]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=check)
