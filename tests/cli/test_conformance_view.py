"""What `runnel conformance run` prints."""

from __future__ import annotations

import click

from runnel.cli.conformance_view import (
    COLUMNS,
    as_json,
    explained,
    finding_lines,
    rule_lines,
    summary,
    trial_lines,
)
from runnel.conformance.rules import Finding, rules
from runnel.conformance.running import Result
from runnel.conformance.trials import TRIALS

GOOD = Result(TRIALS["calm"], [], 100, 0, 0, 2, 3.21)
BAD = Result(
    TRIALS["kill"],
    [
        Finding("W3", "a number was used again", ("w1: sync 3", "w1: sync 3")),
        Finding("contract", "a line cannot be read"),
    ],
    90,
    4,
    1,
    6,
    5.0,
)


def plain(lines: list[str]) -> list[str]:
    return [click.unstyle(line) for line in lines]


def test_a_trial_that_passed() -> None:
    assert plain(finding_lines(GOOD, set())) == ["calm: ok in 3 s"]


def test_a_trial_that_failed_names_the_rule_its_text_and_the_evidence() -> None:
    quoted: set[str] = set()
    lines = plain(finding_lines(BAD, quoted))
    assert lines[:2] == ["kill: FAILED in 5 s", "  rule W3: a number was used again"]
    assert lines[2].startswith("      “Only the `sync` with number 1 is repeated")
    assert lines[-3:] == [
        "    - w1: sync 3",
        "    - w1: sync 3",
        "  contract: a line cannot be read",
    ]
    assert not [each for each in plain(finding_lines(BAD, quoted)) if "“" in each]


def test_a_trial_on_a_machine_that_stood_still() -> None:
    late = Finding("outcome", "not everything was processed", timed=True)
    unsure = Result(TRIALS["calm"], [late], stalls=["the kit itself did not run for 2.0 s"])
    assert plain(finding_lines(unsure, set())) == [
        "calm: inconclusive in 0 s",
        "  the machine stood still: the kit itself did not run for 2.0 s",
        "  so what follows may not be the fault of the client:",
        "  outcome: not everything was processed",
    ]
    unsure.again = True
    assert plain(finding_lines(unsure, set()))[0].endswith("in 0 s, it runs once more")
    assert summary([unsure])[-1].startswith("1 of 1 trials inconclusive: the machine stood still")
    assert summary([GOOD, BAD, unsure])[-2] == "1 of 3 trials FAILED"
    trial = as_json([unsure], 1)["trials"][0]
    assert (trial["passed"], trial["inconclusive"], trial["stalls"]) == (False, True, unsure.stalls)
    certain = Result(TRIALS["calm"], [late, Finding("W17", "LOST")], stalls=unsure.stalls)
    assert not certain.inconclusive
    assert "calm: FAILED" in plain(finding_lines(certain, set()))[0]


def test_the_columns_are_explained() -> None:
    head = click.unstyle(summary([GOOD])[1]).split()
    assert set(head) - {"TRIAL", "RESULT"} == COLUMNS.keys()
    assert all(f"  {name}" in explained() for name in COLUMNS)


def test_the_summary() -> None:
    lines = plain(summary([GOOD, BAD]))
    assert [line.split() for line in lines[2:4]] == [
        ["calm", "ok", "100", "0", "2", "0", "-"],
        ["kill", "FAILED", "90", "4", "6", "1", "W3,", "contract"],
    ]
    assert lines[-1] == "1 of 2 trials FAILED"
    assert "every trial passed" in summary([GOOD])[-1]
    said = "declared to be without parked: it refuses partitions with parked events (W11)"
    assert said in summary([GOOD], ["parked"])


def test_trials_and_rules_are_listed() -> None:
    assert len(trial_lines(TRIALS.values())) == len(TRIALS) + 1
    numbers = [line.split()[0] for line in rule_lines() if not line.startswith(" ")]
    assert numbers == list(rules())


def test_json() -> None:
    found = as_json([GOOD, BAD], 7)
    assert (found["passed"], found["seed"], len(found["trials"])) == (False, 7, 2)
    first = found["trials"][1]["findings"][0]
    assert (first["rule"], first["rule_text"]) == ("W3", rules()["W3"])
    assert found["trials"][1]["findings"][1]["rule_text"] == ""
