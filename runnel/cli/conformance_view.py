"""What `runnel conformance run` prints, for people and as JSON. No I/O."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import click

from runnel.cli.tables import table
from runnel.conformance.rules import Finding, rules
from runnel.conformance.running import Result
from runnel.conformance.trial import ABILITIES, Trial

_WIDTH = 100
#: Characters of a rule that a failure quotes: `--rules` shows all of it.
_QUOTED = 500
_SLOW = "the machine stood still, also when they ran once more (--jobs 1, a longer --session)"
#: Stalls that are named.
_STALLS = 3

#: Column -> what it shows.
COLUMNS = {
    "EVENTS": "in the logs, those too that the kit sent",
    "REPEATS": "events that the next owner processed again, because the commit of the owner before "
    "did not arrive: no failure",
    "TAKE-OVERS": "leases of a partition behind its first one",
    "GIVEN-UP": "records for which the producer wrote an error in place of an id",
    "BROKEN": "rules, and `contract` for what the commands must do besides; `outcome` if something "
    "was left undone, whatever the reason",
}


def trial_lines(trials: Iterable[Trial]) -> list[str]:
    """One line for each trial, with the rule that it is mainly about."""
    return table("TRIAL RULE DOES", [(each.name, each.rule, each.does) for each in trials])


def rule_lines() -> list[str]:
    """The numbered rules."""
    return [
        line
        for number, text in rules().items()
        for line in textwrap.wrap(
            f"{number:<4}{text}", _WIDTH, subsequent_indent=4 * " ", break_on_hyphens=False
        )
    ]


def state(result: Result) -> str:
    """What came out of a trial, in one word."""
    if result.passed:
        return "ok"
    return "inconclusive" if result.inconclusive else "FAILED"


def finding_lines(result: Result, quoted: set[str]) -> list[str]:
    """One line for a trial that has ended, and what is wrong, if anything is. A rule is quoted when
    it is broken first: `quoted` has those that were, and gets these."""
    said = state(result)
    colour = {"ok": "green", "inconclusive": "yellow"}.get(said, "red")
    head = f"{result.trial.name}: {click.style(said, fg=colour)} in {result.seconds:.0f} s"
    found = [f"{head}{', it runs once more' if result.again else ''}"]
    if result.inconclusive:
        found += [f"  the machine stood still: {each}" for each in result.stalls[:_STALLS]]
        found.append("  so what follows may not be the fault of the client:")
    for each in result.findings:
        found += _finding(each, quoted)
    return found


def _finding(finding: Finding, quoted: set[str]) -> list[str]:
    name = f"rule {finding.rule}" if finding.rule in rules() else finding.rule
    found = [f"  {click.style(name, bold=True)}: {finding.text}"]
    if finding.rule in rules() and finding.rule not in quoted:
        quoted.add(finding.rule)
        text = textwrap.shorten(rules()[finding.rule], _QUOTED, placeholder=" …")
        indent = 6 * " "
        found += textwrap.wrap(f"“{text}”", _WIDTH, initial_indent=indent, subsequent_indent=indent)
    return [*found, *(f"    - {line}" for line in finding.evidence)]


def explained() -> str:
    """The columns of the table and the abilities, for the help of the command."""
    without = {name: f"{does} ({rule})" for name, (does, rule) in ABILITIES.items()}
    found = ["\b", "Columns of the table:", *_pairs(COLUMNS), ""]
    found += ["\b", "What a client does --without an ability (in brackets, the rule):"]
    return "\n".join([*found, *_pairs(without)]) + "\n\n"


def _pairs(texts: Mapping[str, str]) -> Iterator[str]:
    """Names and texts in two columns."""
    width = max(map(len, texts)) + 2
    for name, text in texts.items():
        first, *more = textwrap.wrap(text, 76 - width)
        yield f"  {name:{width}}{first}"
        yield from (" " * (width + 2) + each for each in more)


def summary(results: Sequence[Result], without: Sequence[str] = ()) -> list[str]:
    """A table of all trials, what the client is declared not to have, and the verdict."""
    rows = [
        (
            each.trial.name,
            state(each),
            each.events,
            each.repeats,
            each.takeovers,
            each.unknown,
            ", ".join(dict.fromkeys(finding.rule for finding in each.findings)) or "-",
        )
        for each in results
    ]
    lines = table("TRIAL RESULT EVENTS REPEATS TAKE-OVERS GIVEN-UP BROKEN", rows)
    lines += ["", *map(_without, without)] if without else []
    said = Counter(map(state, results))
    verdicts = [
        f"{said[word]} of {len(results)} trials {word}{why}"
        for word, why in (("FAILED", ""), ("inconclusive", f": {_SLOW}"))
        if said[word]
    ]
    if verdicts:
        return ["", *lines, "", *verdicts]
    return ["", *lines, "", "every trial passed: this client keeps the rules that the kit can see"]


def _without(ability: str) -> str:
    instead, rule = ABILITIES[ability]
    return f"declared to be without {ability}: {instead} ({rule})"


def as_json(results: Sequence[Result], seed: int, without: Sequence[str] = ()) -> dict[str, Any]:
    """Everything about a run."""
    return {
        "without": list(without),
        "passed": all(each.passed for each in results),
        "seed": seed,
        "trials": [_trial(each) for each in results],
    }


def _trial(result: Result) -> dict[str, Any]:
    return {
        "name": result.trial.name,
        "passed": result.passed,
        "inconclusive": result.inconclusive,
        "stalls": result.stalls,
        "events": result.events,
        "repeats": result.repeats,
        "take_overs": result.takeovers,
        "given_up": result.unknown,
        "seconds": round(result.seconds, 1),
        "findings": [
            {
                "rule": each.rule,
                "rule_text": rules().get(each.rule, ""),
                "text": each.text,
                "evidence": list(each.evidence),
            }
            for each in result.findings
        ],
    }
