"""`runnel inspect --nagios`: one line, as `runnel check --nagios` writes it."""

from __future__ import annotations

from tests.cli.commands import PRINTER
from tests.cli.conftest import Run

APP = PRINTER.partition(":")[0] + ":app"


def test_the_line_and_the_code_are_those_of_check(run: Run) -> None:
    assert run("processor", "add", PRINTER).code == 0
    for limits in ([], ["--max-lag", "5"], ["--min-members", "1"], ["--fail-on", "paused"]):
        found = run("inspect", "--app", "shop", "--nagios", *limits)
        expected = run("check", "--app", "shop", "--nagios", *limits)
        if limits in ([], ["--min-members", "1"]):
            assert found.code == 2
            assert "0 live members, wanted 1" in found.stdout
        else:
            assert (found.code, found.stdout[:10]) == (0, "RUNNEL OK ")
        assert found.stdout.partition("|")[2] == expected.stdout.partition("|")[2]
        assert not found.stderr
    one = run("inspect", APP, "printer", "--nagios")
    assert one.stdout.count("shop/printer") == one.stdout.count("shop/") > 0


def test_without_redis_it_is_critical_and_other_output_is_refused(run: Run) -> None:
    gone = run("inspect", "--redis-url", "redis://127.0.0.1:1", "--nagios")
    assert gone.code == 2
    assert gone.stdout.startswith("RUNNEL CRITICAL - error: No Redis at ")
    for option in ("--json", "--watch", "--serve"):
        done = run("inspect", "--nagios", option)
        assert done.code == 3
        assert done.stdout.startswith("RUNNEL UNKNOWN - error: --nagios prints one line")
