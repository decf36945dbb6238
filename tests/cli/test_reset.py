"""The command that resets a processor."""

from __future__ import annotations

import json

import pytest
from redis import Redis as SyncRedis

from tests.cli.commands import APP, PRINTER, TOTALS, one_sentence
from tests.cli.conftest import GOOD, Run

COUNTER, VISITS = (TOTALS.replace(":totals", f":{name}") for name in ("counter", "visits"))
RESET = ("processor", "reset", COUNTER, "--start", "earliest")


def visit(run: Run, **seconds: int) -> None:
    """Send visits, and let a worker count them."""
    lines = [json.dumps({"name": name, "seconds": each}) for name, each in seconds.items()]
    assert run("sendmany", VISITS, "-", stdin="\n".join(lines)).code == 0
    count(run)


def count(run: Run) -> None:
    done = run("worker", TOTALS.replace(":totals", ":app"), "--burst")
    assert done.code == 0, done.stderr


def totals(run: Run) -> dict[str, int]:
    rows = run("table", "export", TOTALS).stdout.splitlines()
    return {each["key"]: each["value"] for each in map(json.loads, rows)}


def test_a_reset_without_execute_changes_nothing_and_says_what_it_would_change(
    run: Run, admin: SyncRedis
) -> None:
    visit(run, alice=5, bob=7)
    before = {key: admin.dump(key) for key in admin.keys()}  # noqa: SIM118
    would = run(*RESET, "--tables", "clear")
    assert (would.code, would.stdout) == (
        0,
        "would set 4 partitions of counter to earliest, and clear longest (0 keys), totals "
        "(2 keys). Processed again: 2 events; skipped: none. Nothing was changed: give --execute\n",
    )
    shown = json.loads(run(*RESET, "--tables", "clear", "--json").stdout)
    assert shown["executed"] is False
    again = [each.pop("again") for each in shown["partitions"]]
    assert sum(again) == 2
    assert shown["partitions"][3] == {"id": 3, "checkpoint": None, "skipped": 0}
    assert {key: admin.dump(key) for key in admin.keys()} == before  # noqa: SIM118


def test_a_processor_without_tables_is_reset_only_with_execute(run: Run) -> None:
    run("send", "tests.cli.shop:orders", GOOD)
    assert run("worker", APP, "--burst").code == 0
    reset = ("processor", "reset", PRINTER, "--start", "0")
    assert run(*reset).stdout == (
        "would set 4 partitions of printer to 0. Processed again: 1 event; skipped: none. "
        "Nothing was changed: give --execute\n"
    )
    lag = json.loads(run("inspect", APP, "--json").stdout)["totals"]["lag_events"]
    done = json.loads(run(*reset, "--json", "--execute").stdout)
    assert (done["executed"], done["tables"], done["cleared"]) == (True, None, {})
    assert {each["checkpoint"] for each in done["partitions"]} == {"0-0"}
    assert json.loads(run("inspect", APP, "--json").stdout)["totals"]["lag_events"] == lag + 1


def test_events_that_a_reset_skips_are_counted_before_and_after_it(run: Run) -> None:
    visit(run, alice=5)
    for _ in range(3):
        run("send", VISITS, json.dumps({"name": "alice", "seconds": 1}))
    skip = ("processor", "reset", COUNTER, "--start", "latest", "--tables", "keep")
    assert "Processed again: none; skipped: 3 events." in run(*skip).stdout
    done = run(*skip, "--execute").stdout.splitlines()
    assert done[4:] == ["skipped without processing them: 3 events"]
    assert "Processed again: none; skipped: none." in run(*skip).stdout
    count(run)
    assert totals(run) == {"alice": 5}


def test_an_operator_must_choose_what_becomes_of_the_tables(run: Run) -> None:
    visit(run, alice=5)
    for more in ((), ("--execute",)):
        refused = run(*RESET, *more)
        assert (refused.code, refused.stdout) == (2, "")
        said = one_sentence(refused.stderr)
        assert "counter has the tables longest, totals: choose --tables clear" in said
    assert totals(run) == {"alice": 5}


def test_cleared_tables_have_right_totals_once_all_events_were_processed_again(run: Run) -> None:
    visit(run, alice=5, bob=7, carol=1)
    done = run(*RESET, "--tables", "clear", "--execute")
    assert done.stdout.splitlines() == [
        *(f"{number} 0-0" for number in range(4)),
        "cleared longest (0 keys), totals (3 keys)",
    ]
    assert totals(run) == {}
    count(run)
    assert totals(run) == {"alice": 5, "bob": 7, "carol": 1}


def test_tables_that_are_kept_count_the_events_twice(run: Run) -> None:
    visit(run, alice=5)
    done = run(*RESET, "--tables", "keep", "--execute", "--json")
    assert json.loads(done.stdout)["cleared"] == {}
    count(run)
    assert totals(run) == {"alice": 10}


def test_only_the_chosen_partitions_are_cleared(run: Run, admin: SyncRedis) -> None:
    visit(run, **{f"visitor{number}": 1 for number in range(20)})
    lengths = [
        int(admin.hlen(f"runnel:{{shop:visits:{number}}}:visits:table:totals"))
        for number in range(4)
    ]
    done = run(*RESET, "--tables", "clear", "--partition", "1", "--execute", "--json")
    assert json.loads(done.stdout)["cleared"] == {"longest": 0, "totals": lengths[1]}
    assert len(totals(run)) == 20 - lengths[1]
    count(run)
    assert len(totals(run)) == 20


@pytest.mark.parametrize("choice", ["drop", ""])
def test_a_choice_that_there_is_not_is_refused(run: Run, choice: str) -> None:
    done = run(*RESET, "--tables", choice)
    assert (done.code, "'keep', 'clear'" in done.stderr) == (2, True)
