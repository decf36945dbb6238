"""An empty server is shown with what to do next."""

from __future__ import annotations

import pytest

from runnel.cli import first_steps
from runnel.cli.names import Names
from tests.cli.conftest import Run
from tests.cli.reports import report


def test_the_next_commands_name_the_server_that_was_looked_at() -> None:
    nothing = {**report(), "processors": [], "streams": []}
    assert first_steps.lines(nothing, Names(redis_url="redis://h:1"))[2:] == [
        "  runnel worker MODULE:APP --redis-url redis://h:1   # starts one, which registers its "
        "processors",
        "  runnel init NAME   # writes a first app, if you have none",
    ]
    assert first_steps.lines({**report(), "streams": []}, Names()) == [], "there is a processor"


@pytest.mark.parametrize("options", [[], ["--all"]])
def test_inspect_says_it_of_an_empty_server(run: Run, options: list[str]) -> None:
    done = run("inspect", *options)
    assert (done.code, done.stderr) == (0, "")
    assert first_steps.NOBODY in done.stdout
