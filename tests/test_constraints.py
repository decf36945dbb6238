"""constraints.txt has one version of each package that development needs, for each Python."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
PYTHONS = [
    found[1]
    for each in PROJECT["classifiers"]
    if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", each))
]
SYSTEMS = {"linux": ("posix", "x86_64"), "darwin": ("posix", "arm64"), "win32": ("nt", "AMD64")}
RENEW = "run scripts/constraints"

#: Other environments may have other versions installed on purpose.
bootstrapped = pytest.mark.skipif(
    Path(sys.prefix) != ROOT / ".venv", reason="only on what scripts/bootstrap has installed"
)


def constraints() -> list[Requirement]:
    """The requirements in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if not line.startswith("#")]


def required() -> list[Requirement]:
    """The requirements in pyproject.toml: at run time, of each extra, and of the build."""
    extras = PROJECT["optional-dependencies"].values()
    lists = [PROJECT["dependencies"], PYPROJECT["build-system"]["requires"], *extras]
    every = [Requirement(text) for texts in lists for text in texts]
    return [each for each in every if each.name != PROJECT["name"]]


def environment(python: str, system: str) -> dict[str, str]:
    """The environment in which markers are evaluated for a Python on a system."""
    os_name, machine = SYSTEMS[system]
    return {
        "python_version": python,
        "python_full_version": f"{python}.4",
        "sys_platform": system,
        "os_name": os_name,
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
    }


def applies(requirement: Requirement, environment_: dict[str, str]) -> bool:
    return requirement.marker is None or requirement.marker.evaluate(environment_)


def test_the_oldest_python_is_the_first_classifier_and_the_target_of_the_tools() -> None:
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"
    tools = PYPROJECT["tool"]
    assert tools["mypy"]["python_version"] == PYTHONS[0]
    assert tools["ruff"]["target-version"] == f"py{PYTHONS[0]}".replace(".", "")
    assert [f"3.{minor}" for minor in range(11, 11 + len(PYTHONS))] == PYTHONS


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("python", PYTHONS)
def test_every_required_package_has_one_version(python: str, system: str) -> None:
    environment_ = environment(python, system)
    for requirement in (each for each in required() if applies(each, environment_)):
        name = canonicalize_name(requirement.name)
        lines = [
            line for line in constraints() if line.name == name and applies(line, environment_)
        ]
        assert len(lines) == 1, f"{len(lines)} lines for {name}: {RENEW}"
        [pin] = lines[0].specifier
        assert pin.operator == "=="
        assert requirement.specifier.contains(pin.version), (
            f"{lines[0]} is not {requirement}: {RENEW}"
        )


def closure(requirement: Requirement, seen: set[str]) -> Iterator[str]:
    """A package and everything it needs, from the metadata of the installed packages."""
    name = canonicalize_name(requirement.name)
    extras = requirement.extras or {""}
    for extra in extras:
        key = f"{name}[{extra}]"
        if key in seen:
            continue
        seen.add(key)
        yield name
        for text in distribution(name).requires or []:
            inner = Requirement(text)
            if inner.marker is None or inner.marker.evaluate({"extra": extra}):
                yield from closure(inner, seen)


@bootstrapped
def test_the_packages_that_those_need_have_a_version_too() -> None:
    names = set(closure(Requirement("runnel[dev]"), set())) - {"runnel"}
    assert names > {"pydantic-core", "hiredis", "iniconfig"}
    assert not names - {line.name for line in constraints()}, RENEW


@bootstrapped
def test_bootstrap_installs_these_versions() -> None:
    environment_ = [line for line in constraints() if line.marker is None or line.marker.evaluate()]
    other = {
        f"{line.name} {version(line.name)}"
        for line in environment_
        if version(line.name) not in line.specifier
    }
    assert not other, "delete .venv, then run scripts/bootstrap: rm -r .venv"
