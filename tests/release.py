"""Build a release from the last commit, check that it works, and leave only it in dist/.

Nothing is uploaded. Before you run it:
  1. scripts/test has passed; this does not repeat it.
  2. pyproject.toml has the version to release, such as 1.0.0.
  3. The first heading of CHANGELOG.md is that version with its day: "## 1.0.0 (2026-12-01)".
  4. Both are committed, and no tag v1.0.0 exists.

What it does:
  - clones the last commit into a temporary folder, builds the sdist there, and from it the wheel;
  - compares both with the files that are committed, lua/ and py.typed among them;
  - installs the wheel in an empty environment, with the server of runnel[embedded], and runs the
    demo from it: three workers on a real server, one of them killed;
  - installs the sdist in another one, and does what README says under "The first minute"; then the
    same with the wheel for each further Python of pyproject.toml that is on this machine.

At the end it prints the remaining steps: the tag and the upload.

While the version is a development version ("1.0.0.dev0") and the changelog begins with
"## Unreleased", scripts/release --rehearse does the same and keeps nothing.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path

from tests.installed import Broken, first_minute, install, pythons, run

ROOT = Path(__file__).parents[1]
UNRELEASED = "Unreleased"


class Refused(Exception):
    """The release is not ready; the message says why and what to do."""


def main() -> int:
    """Build and check a release, or print why not. Returns the exit code."""
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
    except (Refused, Broken) as refused:
        print(f"Not released: {refused}", file=sys.stderr)
        return 1
    print(rehearsed(version) if rehearse else what_is_left(version, packages))
    return 0


def check_version(root: Path, rehearse: bool) -> str:
    """The version in pyproject.toml. Raises Refused if the changelog has another one."""
    with (root / "pyproject.toml").open("rb") as file:
        version = str(tomllib.load(file)["project"]["version"])
    in_development = ".dev" in version
    if in_development and not rehearse:
        raise Refused(
            f"{version} is a development version; write the one to release into pyproject.toml, "
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
    """Raises Refused if files have uncommitted changes, or if the version has a tag."""
    changed = git(root, "status", "--porcelain").splitlines()
    if changed:
        raise Refused(
            f"{len(changed)} files have uncommitted changes, the first is {changed[0][3:]}; "
            "commit or remove them"
        )
    if git(root, "tag", "--list", f"v{version}"):
        raise Refused(f"the tag v{version} exists already: {version} has been released")


def build_and_prove(root: Path, version: str, folder: Path) -> list[Path]:
    """Build the sdist and the wheel of the last commit, and run every check on them."""
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
    python = install(Path(sys.executable), wheel, folder / "environment")
    say("running the demo from there")
    demo: list[str | Path] = [python, "-m", "runnel", "demo", "--examples", tree / "examples"]
    run("the demo failed", demo, cwd=folder, show=True)
    this, found = "{}.{}".format(*sys.version_info), pythons()
    try_example(tree, sdist, Path(sys.executable), folder / "sdist")
    for version in found.keys() - {this}:
        try_example(tree, wheel, found[version], folder / version)
    return [sdist, wheel]


def try_example(tree: Path, package: Path, program: Path, folder: Path) -> None:
    """Install a package with a Python and do what README says first."""
    say(f"installing {package.name} with {program}, and running the example")
    folder.mkdir()
    python = install(program, package, folder / "environment")
    first_minute(python, tree / "examples/example.py", folder)


def committed(tree: Path, *folders: str) -> dict[str, bytes]:
    """The committed files of a clone, or of some of its folders: path -> content."""
    paths = git(tree, "ls-files", "-z", *folders).split("\0")
    return {path: (tree / path).read_bytes() for path in paths if path}


def check_sdist(tree: Path, sdist: Path) -> None:
    """Raises Refused unless the sdist has exactly the committed files and its metadata."""
    with tarfile.open(sdist) as archive:
        packed = {
            member.name.partition("/")[2]: file.read()
            for member in archive
            if (file := archive.extractfile(member))
        }
    packed.pop("PKG-INFO", None)
    compare("sdist", committed(tree), packed)


def check_wheel(tree: Path, wheel: Path) -> None:
    """Raises Refused unless the wheel has exactly the package with lua/ in it, and metadata."""
    wanted = committed(tree, "runnel")
    wanted |= {f"runnel/{path}": content for path, content in committed(tree, "lua").items()}
    wanted.setdefault("runnel/py.typed", b"")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
    compare("wheel", wanted, {name: packed[name] for name in packed if ".dist-info/" not in name})


def compare(what: str, wanted: dict[str, bytes], packed: dict[str, bytes]) -> None:
    """Raises Refused with the first path that differs."""
    for path in sorted(wanted.keys() | packed.keys()):
        if path not in packed:
            raise Refused(f"the {what} lacks {path}")
        if path not in wanted:
            raise Refused(f"the {what} has {path}, which is not committed")
        if packed[path] != wanted[path]:
            raise Refused(f"the {what} has another {path} than the one committed")


def keep(packages: Sequence[Path], folder: Path) -> list[Path]:
    """Move the packages into an emptied folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return [Path(shutil.move(package, folder)) for package in packages]


def what_is_left(version: str, packages: Sequence[Path]) -> str:
    """The text with the steps that remain to do by hand."""
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
    """The text at the end of a rehearsal."""
    return f"All is well with {version}. Nothing was kept, since this was a rehearsal."


def say(text: str) -> None:
    """Print the next step, unbuffered, since it can take a while."""
    print(f"{text} ...", flush=True)


def git(folder: Path, *arguments: str) -> str:
    """The output of git in a folder."""
    return run(f"git {arguments[0]} failed", ["git", "-C", str(folder), *arguments])


if __name__ == "__main__":
    sys.exit(main())
