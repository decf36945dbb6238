"""Tries an installed Runnel as a new user does: in an empty environment, with what README says.

Run as ``python -m tests.installed PACKAGE``, it installs a wheel or an sdist with each Python that
pyproject.toml names and that is on this machine, and runs the example.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.servers import free_port

ROOT = Path(__file__).parents[1]
_START_TIMEOUT = 60.0


class Broken(Exception):
    """What was installed does not work; the message says what failed."""


def pythons() -> dict[str, Path]:
    """Version -> program, of the Pythons that pyproject.toml names and that are here: this one,
    those on PATH, and those of pyenv."""
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    found = {}
    for each in classifiers:
        if named := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", each):
            for program in _candidates(named[1]):
                if _version(program) == named[1]:
                    found[named[1]] = program
                    break
    return found


def _candidates(version: str) -> Iterator[Path]:
    yield Path(sys.executable)
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        yield Path(folder) / f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"))


def _version(program: Path) -> str:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    with contextlib.suppress(OSError):
        done = subprocess.run([program, "-c", code], capture_output=True, text=True, check=False)
        return done.stdout.strip()
    return ""


def install(program: Path, package: Path, environment: Path) -> Path:
    """Install a wheel or an sdist and a server program in a new environment; returns its Python.

    Raises Broken if Runnel cannot be installed, or is imported from elsewhere.
    """
    run("no environment can be made", [program, "-m", "venv", environment])
    python = environment / "bin" / "python"
    pip: list[str | Path] = [python, "-m", "pip", "--disable-pip-version-check"]
    constraints: list[str | Path] = ["-c", ROOT / "constraints.txt"]
    run("it cannot be installed", [*pip, "install", "-q", *constraints, f"{package}[embedded]"])
    run("what it needs does not fit together", [*pip, "check"])
    where: list[str | Path] = [
        python,
        "-c",
        "from runnel import *; import runnel; print(runnel.__file__)",
    ]
    home = Path(run("it cannot be imported", where, cwd=environment)).resolve()
    if not home.is_relative_to(environment.resolve()):
        raise Broken(f"the empty environment imports runnel from {home}, not from the package")
    return python


def first_minute(python: Path, example: Path, folder: Path) -> None:
    """Do what README says under "The first minute", with `example` as example.py. Raises Broken."""
    runnel: list[str | Path] = [python, "-m", "runnel"]
    url = f"redis://127.0.0.1:{free_port()}"
    (folder / "example.py").write_bytes(example.read_bytes())
    record = {"order_id": 1, "created_at": "2026-11-23T12:00:09Z", "amount": 99}
    with _server(runnel, url, folder):
        send = [*runnel, "send", "example:orders", json.dumps(record)]
        sent = run("send failed", send, cwd=folder, url=url)
        if not re.fullmatch(r"\d+ \d+-\d+", sent):
            raise Broken(f"send printed {sent!r}, not a partition and an id")
        printed = run(
            "the worker failed", [*runnel, "worker", "example:app", "--burst"], cwd=folder, url=url
        )
        if "99" not in printed.splitlines():
            raise Broken(f"the worker printed {printed!r}, not 99")
        inspected = [*runnel, "inspect", "example:app", "--max-lag", "0"]
        run("inspect failed", inspected, cwd=folder, url=url)


@contextlib.contextmanager
def _server(runnel: Sequence[str | Path], url: str, folder: Path) -> Iterator[None]:
    log = folder / "server.log"
    with log.open("w") as said:
        command: list[str | Path] = [
            *runnel,
            "server",
            "--redis-url",
            url,
            "--data",
            folder / "data",
        ]
        server = subprocess.Popen(
            command, cwd=folder, env=_environment(), stdout=said, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + _START_TIMEOUT
        while "Ready to accept connections" not in log.read_text():
            if server.poll() is not None or time.monotonic() > deadline:
                raise Broken(f"the server did not start:\n{log.read_text()}")
            time.sleep(0.02)
        yield
    finally:
        server.terminate()
        server.wait()


def _environment(**more: str) -> dict[str, str]:
    """The environment of a user who has nothing of this checkout."""
    ours = ("PYTHON", "RUNNEL_", "VIRTUAL_ENV")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(ours)},
        **more,
    }


def run(
    problem: str,
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    url: str = "",
    show: bool = False,
) -> str:
    """Run a program without this environment's packages and settings, and return its output.

    Raises Broken with `problem` and the end of the output, unless it exits with 0.
    """
    done = subprocess.run(
        command,
        cwd=cwd,
        env=_environment(**({"RUNNEL_REDIS_URL": url} if url else {})),
        stdout=None if show else subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    output = (done.stdout or "").rstrip()
    if done.returncode:
        last = "\n".join([*output.splitlines(), *done.stderr.splitlines()][-15:])
        raise Broken(f"{problem} ({' '.join(map(str, command[:4]))} ...):\n{last}")
    return output


def main(package: Path) -> int:
    """Try a package with each Python; 0 if it works with all."""
    for version, program in pythons().items():
        with tempfile.TemporaryDirectory(prefix="runnel-installed-") as name:
            folder = Path(name)
            try:
                python = install(program, package, folder / "environment")
                first_minute(python, ROOT / "examples/example.py", folder)
            except Broken as error:
                print(f"Python {version}: {error}", file=sys.stderr)
                return 1
        print(f"Python {version}: the first minute works", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
