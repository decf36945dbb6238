"""What is said of a trial: causes before what follows from them, and no guess."""

from __future__ import annotations

from collections.abc import Sequence

from runnel.conformance.case import Case, Findings
from runnel.conformance.rules import Finding

#: What follows from what: a call that is wrong on the wire, what comes of it, how commands end, and
#: what is left undone.
_ORDER = ("C", "PW", "contract", "outcome")


def verdict(case: Case, of_checks: Sequence[Finding], of_trial: Sequence[Finding]) -> list[Finding]:
    """The findings of the checks and of the trial itself, in the order in which they are read."""
    # What lines would have said that cannot be read, nobody knows: the rest is no finding.
    if unreadable := _unreadable(case):
        return unreadable
    found = sorted([*of_checks, *of_trial], key=lambda each: (_rank(each.rule), each.timed))
    if alone := [each for each in found if each.alone]:
        return [*(each for each in found if not each.timed), *alone]
    if found and all(each.rule == "outcome" for each in found):
        hint = "no rule was seen broken: what the commands did last is at the end of history.txt"
        found.append(Finding("outcome", hint, timed=True))
    return found


def _rank(rule: str) -> int:
    if rule in _ORDER:
        return _ORDER.index(rule)
    return 0 if rule[0] in _ORDER[0] else 1


def _unreadable(case: Case) -> list[Finding]:
    found = Findings()
    for actor, problem in case.history.bad_lines:
        text = "a line on stdout cannot be read, so nothing else was judged"
        found.add("contract", text, f"{actor}: {problem}")
    return found.all()
