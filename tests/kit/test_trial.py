"""How a function becomes a trial, and what a client need not have."""

from __future__ import annotations

from runnel.conformance.rules import rules
from runnel.conformance.scene import Scene
from runnel.conformance.trial import ABILITIES, Trials, adding_to
from runnel.conformance.trials import TRIALS


async def two_words(scene: Scene) -> None:
    """What it does.

    And how.
    """


def test_name_and_text_of_a_trial_are_those_of_its_function() -> None:
    trials: Trials = {}
    adding_to(trials)("W3", workers=1, needs="parked")(two_words)
    (found,) = trials.values()
    assert (list(trials), found.name, found.does) == (["two-words"], "two-words", "What it does")
    assert (found.rule, found.workers, found.needs, found.refuses) == ("W3", 1, "parked", False)


def test_each_ability_has_a_trial_and_a_rule_that_lets_a_client_be_without_it() -> None:
    assert {each.needs for each in TRIALS.values()} - {""} == ABILITIES.keys()
    assert all(
        any(word in rules()[of] for word in ("SHOULD", "does not know", "but not"))
        for _, of in ABILITIES.values()
    )
