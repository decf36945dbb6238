"""Whether members of one group run different versions."""

from __future__ import annotations

from typing import Any

import pytest

from runnel.operations.member_versions import described, mixed, versions


def member(lang: str | None, version: str | None, scripts: str | None) -> dict[str, Any]:
    return {"id": "w", "lang": lang, "version": version, "scripts": scripts}


PYTHON = member("python", "1.0", "4fbc2d1")


@pytest.mark.parametrize(
    ("others", "differ"),
    [
        ([], False),
        ([PYTHON], False),
        ([member("python", "1.1", "4fbc2d1")], True),
        ([member("python", "1.0", "4fbc2d2")], True),
        ([member("typescript", "1.1", "4fbc2d1")], False),
        ([member("typescript", "1.1", "4fbc2d2")], True),
        ([member(None, None, None)], False),
        ([member("python", None, None), member(None, "2.0", None)], False),
    ],
)
def test_members_differ_in_scripts_or_in_the_version_of_a_client(
    others: list[dict[str, Any]], differ: bool
) -> None:
    assert mixed([PYTHON, *others]) is mixed([*others, PYTHON]) is differ


def test_members_are_counted_by_what_they_run() -> None:
    assert not mixed([])
    counted = versions([PYTHON, PYTHON, member("go", None, None)])
    assert counted == {("python", "1.0", "4fbc2d1"): 2, ("go", None, None): 1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("node-7 41 python 1.0 4fbc2d1", ("node-7", 41, "python", "1.0", "4fbc2d1")),
        ("node-7 41 python 1.0 4fbc2d1 later words", ("node-7", 41, "python", "1.0", "4fbc2d1")),
        ("node-7 41 python 1.0", ("node-7", 41, "python", "1.0", None)),
        ("- - go -", (None, None, "go", None, None)),
        ("node-7 ² go 1 GREEN00", ("node-7", None, "go", "1", None)),
        ("", (None, None, None, None, None)),
    ],
)
def test_what_a_member_says_is_read_word_by_word(text: str, expected: tuple[object, ...]) -> None:
    assert tuple(described(text).values()) == expected
