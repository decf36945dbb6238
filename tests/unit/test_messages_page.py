"""docs/messages.md has each state, exit code, error and finding, and no line that is not logged."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from runnel import errors
from runnel.cli import exits
from runnel.cli.limits import STATES
from runnel.errors import BY_WORD, RunnelError
from runnel.metrics.exporter import PARTITION_STATES, PROCESSOR_STATES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/messages.md").read_text()
CODE = "".join(path.read_text() for path in sorted((ROOT / "runnel").rglob("*.py")))
#: The code with the parts of each text put together.
JOINED = re.sub(r'"\s*\n\s*f?"', "", CODE)


def rows(heading: str) -> dict[str, str]:
    """The first cell of each row under a heading -> the rest of the row."""
    part = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(r"^\| `?([^|`]+)`? \| (.*) \|$", part, re.M)
    return {name: rest for name, rest in found if set(name) != {"-"}}


def test_it_has_each_state() -> None:
    assert {*STATES, *PARTITION_STATES} <= set(rows("States of a partition"))
    assert set(PROCESSOR_STATES) <= set(rows("States of a processor"))


def test_it_has_each_exit_code() -> None:
    codes = {
        str(each) for name, each in vars(exits).items() if name.isupper() and type(each) is int
    }
    assert "11" in codes
    assert codes - set(rows("Exit codes")) == set()


def test_it_has_each_error_with_the_word_of_its_script() -> None:
    found = rows("Errors")
    classes = {
        name
        for name, each in vars(errors).items()
        if isinstance(each, type) and issubclass(each, RunnelError)
    }
    assert classes == set(found) - {"error"}
    for word, each in BY_WORD.items():
        assert f"`{word}`" in found[each.__name__]


def test_it_has_each_finding_of_doctor() -> None:
    files = [ROOT / "runnel/operations/diagnosis.py", ROOT / "runnel/cli/doctor.py"]
    text = "".join(path.read_text() for path in files)
    subjects = set(re.findall(r'Finding\(\s*f?"(\w+)', text))
    subjects |= set(re.findall(r'subject = f?"(\w+)', text))
    assert len(subjects) > 8
    assert subjects - set(rows("What `runnel doctor` finds")) == set()


@pytest.mark.parametrize("line", rows("Lines in the log"))
def test_a_line_of_the_log_is_in_the_code(line: str) -> None:
    assert line == "line" or line in JOINED
