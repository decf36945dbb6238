"""The Go client: its format, its own tests, the size that it claims, its example."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from runnel.embedded.binary import find_binary
from tests.servers import Server

ROOT = Path(__file__).parent.parent.parent
CLIENT = ROOT / "clients/go"
README = (CLIENT / "README.md").read_text()

pytestmark = [
    pytest.mark.skipif(not shutil.which("go"), reason="there is no Go toolchain here"),
    pytest.mark.timeout(300),
]


def run(*command: str, cwd: Path = CLIENT, **environment: str) -> str:
    """Run a program, which must succeed. Returns its output."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | {"GOFLAGS": "-mod=mod", "GOPROXY": "off"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_its_format_is_that_of_gofmt() -> None:
    assert run("gofmt", "-l", ".") == ""


def test_vet_finds_nothing() -> None:
    run("go", "vet", "./...")


def test_its_own_tests_pass() -> None:
    said = run("go", "test", "-count=1", ".", REDIS_SERVER=str(find_binary().path))
    assert said.startswith("ok")


def lines_of(*names: str) -> int:
    """All lines, also those that are empty or a comment."""
    return sum(len((CLIENT / name).read_text().splitlines()) for name in names)


def test_it_is_as_small_as_it_says() -> None:
    claims = re.findall(r"\| (.+?): .*\| less than (\d+) \|", README)
    assert len(claims) == 3
    counted: set[str] = set()
    for names, most in claims:
        files = re.findall(r"`(.+?)`", names)
        if files == ["internal/"]:
            files = [str(each.relative_to(CLIENT)) for each in CLIENT.glob("internal/*/*.go")]
        assert lines_of(*files) < int(most)
        counted |= set(files)
    ours = {str(path.relative_to(CLIENT)) for path in CLIENT.rglob("*.go")}
    assert {each for each in ours - counted if "_test" not in each} == {
        "conformance/flights/main.go",
        "conformance/producer/main.go",
        "conformance/worker/main.go",
    }


def test_its_example_works_in_a_module_of_its_own(tmp_path: Path, server: Server) -> None:
    program = README.partition("```go\n")[2].partition("```")[0]
    required = README.partition("```text\n")[2].partition("```")[0]
    (tmp_path / "main.go").write_text(program)
    path = required.replace("../runnel/clients/go", str(CLIENT))
    (tmp_path / "go.mod").write_text(f"module example\n\ngo 1.19\n\n{path}")
    said = run("go", "run", ".", cwd=tmp_path, RUNNEL_REDIS_URL=server.url)
    assert said.splitlines() == [
        "order 1: ada has ordered for 100",
        "order 2: ada has ordered for 350",
    ]
