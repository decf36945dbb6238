"""Commands that a probe calls every few seconds import nothing that is slow."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["runnel.cli.inspect", "runnel.cli.check"])
def test_a_command_without_code_imports_nothing_that_is_slow(module: str) -> None:
    slow = {"pydantic", "msgpack", "tabulate", "runnel.app", "runnel.record"}
    script = f"import sys, {module}; print(*sorted({slow} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
