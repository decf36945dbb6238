"""Build a release from the last commit, prove that it works, and leave it alone in dist/.

Nothing is uploaded. What must be ready before:
  1. scripts/test has passed; this does not repeat it.
  2. pyproject.toml has the version to release, such as 1.0.0.
  3. The first heading of CHANGELOG.md is that version with its day: "## 1.0.0 (2026-12-01)".
  4. Both are committed, and no tag v1.0.0 exists.

What it does:
  - clones the last commit into a temporary folder, builds the sdist there, and from it the wheel;
  - compares both with the files that are committed, lua/ and py.typed among them;
  - installs the wheel in an empty environment, with the server of runnel[embedded], and runs the
    demo from it: three workers on a real server, one of them killed.

What is left, the tag and the upload, it prints at the end.

While the version is still one of development ("1.0.0.dev0") and the changelog begins with
"## Unreleased", scripts/release --rehearse does the same and keeps nothing.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
UNRELEASED = "Unreleased"


class Refused(Exception):
    """What is not as a release must be, and what to do about it."""


def main() -> int:
    """Release, or say in one sentence why not."""
    parser = argparse.ArgumentParser(
        prog="scripts/release",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rehearse", action="store_true", help="try it with a development version")
    rehearse = parser.parse_args().rehearse
    try:
        version = check_version(ROOT, rehearse)
        check_committed(ROOT, version)
        with tempfile.TemporaryDirectory(prefix="runnel-release-") as folder:
            packages = build_and_prove(ROOT, version, Path(folder))
            if not rehearse:
                packages = keep(packages, ROOT / "dist")
    except Refused as refused:
        print(f"Not released: {refused}", file=sys.stderr)
        return 1
    print(rehearsed(version) if rehearse else what_is_left(version, packages))
    return 0


def check_version(root: Path, rehearse: bool) -> str:
    """The version in pyproject.toml, which the changelog must agree with."""
    with (root / "pyproject.toml").open("rb") as file:
        version = str(tomllib.load(file)["project"]["version"])
    in_development = ".dev" in version
    if in_development and not rehearse:
        raise Refused(
            f"{version} is a version of development; write the one to release into pyproject.toml, "
            "or try everything with --rehearse"
        )
    if rehearse and not in_development:
        raise Refused(f"{version} is ready to be released, so leave --rehearse out")
    found = re.search(r"^## (.*)$", (root / "CHANGELOG.md").read_text(), re.M)
    heading = found[1] if found else "missing"
    wanted = UNRELEASED if in_development else rf"{re.escape(version)} \(\d{{4}}-\d\d-\d\d\)"
    if not re.fullmatch(wanted, heading):
        example = UNRELEASED if in_development else f"{version} (YEAR-MONTH-DAY)"
        raise Refused(
            f"the version in pyproject.toml is {version}, but the first heading of CHANGELOG.md is "
            f'"## {heading}"; it must be "## {example}"'
        )
    return version


def check_committed(root: Path, version: str) -> None:
    """The tree is the last commit, and no tag has the version's name."""
    changed = git(root, "status", "--porcelain").splitlines()
    if changed:
        raise Refused(
            f"{len(changed)} files are not as they were committed, the first is {changed[0][3:]}; "
            "commit them or put them away"
        )
    if git(root, "tag", "--list", f"v{version}"):
        raise Refused(f"the tag v{version} exists already: {version} has been released")


def build_and_prove(root: Path, version: str, folder: Path) -> list[Path]:
    """The sdist and the wheel of the last commit, which have passed every check."""
    tree = folder / "tree"
    git(root, "clone", "--quiet", str(root), str(tree))
    say("building the sdist, and the wheel from it")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), "."]
    run("it cannot be built", build, cwd=tree)
    sdist = folder / f"dist/runnel-{version}.tar.gz"
    wheel = folder / f"dist/runnel-{version}-py3-none-any.whl"
    check_sdist(tree, sdist)
    check_wheel(tree, wheel)
    say("installing the wheel in an empty environment")
    python = install(tree, wheel, folder / "environment")
    say("running the demo from there")
    demo = [str(python), "-m", "runnel", "demo", "--examples", str(tree / "examples")]
    run("the demo failed", demo, cwd=folder, show=True)
    return [sdist, wheel]


def committed(tree: Path, *folders: str) -> dict[str, bytes]:
    """The committed files of a clone, or of some of its folders: path -> content."""
    paths = git(tree, "ls-files", "-z", *folders).split("\0")
    return {path: (tree / path).read_bytes() for path in paths if path}


def check_sdist(tree: Path, sdist: Path) -> None:
    """The sdist holds every committed file, and nothing else but its metadata."""
    with tarfile.open(sdist) as archive:
        held = {
            member.name.partition("/")[2]: file.read()
            for member in archive
            if (file := archive.extractfile(member))
        }
    held.pop("PKG-INFO", None)
    compare("sdist", committed(tree), held)


def check_wheel(tree: Path, wheel: Path) -> None:
    """The wheel holds the package, the scripts of lua/ inside it, and nothing else but metadata."""
    wanted = committed(tree, "runnel")
    wanted |= {f"runnel/{path}": content for path, content in committed(tree, "lua").items()}
    wanted.setdefault("runnel/py.typed", b"")
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    compare("wheel", wanted, {name: held[name] for name in held if ".dist-info/" not in name})


def compare(what: str, wanted: dict[str, bytes], held: dict[str, bytes]) -> None:
    """Raises Refused with the first path that differs."""
    for path in sorted(wanted.keys() | held.keys()):
        if path not in held:
            raise Refused(f"the {what} lacks {path}")
        if path not in wanted:
            raise Refused(f"the {what} has {path}, which is not committed")
        if held[path] != wanted[path]:
            raise Refused(f"the {what} has another {path} than the one committed")


def install(tree: Path, wheel: Path, environment: Path) -> Path:
    """The Python of a new environment that has the wheel, a server program, and what they need."""
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    constraints = ["-c", str(tree / "constraints.txt")]
    run("it cannot be installed", [*pip, "install", "-q", *constraints, f"{wheel}[embedded]"])
    run("what it needs does not fit together", [*pip, "check"])
    where = [str(python), "-c", "from runnel import *; import runnel; print(runnel.__file__)"]
    home = Path(run("it cannot be imported", where, cwd=environment)).resolve()
    if not home.is_relative_to(environment.resolve()):
        raise Refused(f"the empty environment imports runnel from {home}, not from the wheel")
    return python


def keep(packages: Sequence[Path], folder: Path) -> list[Path]:
    """Move what passed into a folder that then holds nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return [Path(shutil.move(package, folder)) for package in packages]


def what_is_left(version: str, packages: Sequence[Path]) -> str:
    """What to do by hand after it."""
    return "\n".join(
        [
            f"Runnel {version} is ready, and nothing has been uploaded:",
            *(f"  {package.relative_to(ROOT)}" for package in packages),
            "What is left:",
            f"  git tag -a v{version} -m 'Runnel {version}' && git push origin v{version}",
            "  upload the two files to the package index",
            '  put the next version with ".dev0" into pyproject.toml and "## Unreleased" on top of',
            "  CHANGELOG.md, and commit that",
        ]
    )


def rehearsed(version: str) -> str:
    """What a rehearsal has shown."""
    return f"All is well with {version}. Nothing was kept, since this was a rehearsal."


def say(text: str) -> None:
    """What comes next, at once: it can take a while."""
    print(f"{text} ...", flush=True)


def git(folder: Path, *arguments: str) -> str:
    """What git says there."""
    return run(f"git {arguments[0]} failed", ["git", "-C", str(folder), *arguments])


def run(
    problem: str, command: Sequence[str], *, cwd: Path | None = None, show: bool = False
) -> str:
    """Run a program without this environment's own packages and settings, and return what it said.

    Raises Refused with `problem` and the end of what it said, unless it exits with 0.
    """
    ours = ("PYTHON", "RUNNEL_", "VIRTUAL_ENV")
    done = subprocess.run(
        command,
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if not name.startswith(ours)},
        stdout=None if show else subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    said = (done.stdout or "").rstrip()
    if done.returncode:
        last = "\n".join([*said.splitlines(), *done.stderr.splitlines()][-15:])
        raise Refused(f"{problem} ({' '.join(command[:4])} ...):\n{last}")
    return said


if __name__ == "__main__":
    sys.exit(main())
