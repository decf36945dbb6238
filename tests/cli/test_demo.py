"""The demo passes only if every departure was processed, in order for each aircraft."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from runnel.cli.demo import Demo
from tests.cli.commands import one_sentence
from tests.cli.conftest import Run


def departure(tail: str, number: int) -> dict[str, Any]:
    return {"tailnum": tail, "departed_at": f"2013-01-01T{number:02}:00:00Z", "flight": number}


SENT = [departure(tail, number) for number in range(3) for tail in ("N1", "N2")]


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    """A demo whose departures were sent. Its log has one line."""
    source = tmp_path / "departures.jsonl.gz"
    source.write_bytes(gzip.compress("".join(f"{json.dumps(each)}\n" for each in SENT).encode()))
    (tmp_path / "log").write_text("the end of the log\n")
    return Demo(source, tmp_path)


def process(demo: Demo, *departures: dict[str, Any]) -> None:
    demo.effects.write_text("".join(f"{json.dumps(each)}\n" for each in departures))


def test_departures_that_a_killed_worker_repeats_are_counted(
    demo: Demo, capsys: pytest.CaptureFixture[str]
) -> None:
    process(demo, *SENT[:4], *SENT[2:])
    demo.check()
    said = capsys.readouterr().out
    assert "6 departures of 2 aircraft were sent" in said
    assert "6 were processed, 0 are missing" in said
    assert "0 aircraft had their departures out of order" in said
    assert "2 departures were processed twice" in said
    assert said.endswith("all checks hold\n")


def test_where_nothing_was_repeated_it_says_so(
    demo: Demo, capsys: pytest.CaptureFixture[str]
) -> None:
    process(demo, *SENT)
    demo.check()
    assert "no departures were processed twice\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("processed", "says"),
    [
        (SENT[:-1], "5 were processed, 1 are missing"),
        ([SENT[2], SENT[0], SENT[1], *SENT[3:]], "1 aircraft had their departures out of order"),
        ([*SENT, departure("N3", 7)], "6 were processed, 0 are missing"),
    ],
    ids=["missing", "out of order", "never sent"],
)
def test_a_check_that_fails_is_exit_1_with_the_end_of_the_log(
    demo: Demo, capsys: pytest.CaptureFixture[str], processed: list[dict[str, Any]], says: str
) -> None:
    process(demo, *processed)
    with pytest.raises(SystemExit) as ended:
        demo.check()
    said = capsys.readouterr()
    assert ended.value.code == 1
    assert says in said.out
    assert said.err == "error: a check failed\nthe end of the log\n"


def test_a_folder_without_the_departures_is_reported(run: Run, tmp_path: Path) -> None:
    done = run("demo", "--examples", str(tmp_path))
    assert done.code == 2
    assert "flights-2013-01.jsonl.gz is missing: the demo needs" in one_sentence(done.stderr)


def test_outside_a_clone_it_says_what_it_needs(run: Run, tmp_path: Path) -> None:
    done = run("demo", "--examples", str(tmp_path / "examples"))
    assert done.code == 2
    assert "needs the folder `examples` of Runnel's repository" in done.stderr
    assert "a clone, or name that folder with --examples PATH" in done.stderr
