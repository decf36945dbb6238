"""A processor is removed by its name alone, and a wrong name is answered with those that exist."""

from __future__ import annotations

from tests.cli.commands import PRINTER, one_sentence
from tests.cli.conftest import Run


def test_removing_from_the_wrong_stream_names_the_right_one(run: Run, redis_url: str) -> None:
    run("processor", "add", PRINTER)
    run("processor", "add", "tests.cli.shop:tightly")
    here = ("--app", "shop", "--redis-url", redis_url, "--yes")
    wrong = run("processor", "remove", "orders@tightly", *here)
    assert wrong.stdout == "tightly was not registered; the registry has tight@tightly\n"
    assert run("processor", "remove", "tight@tightly", *here).stdout.endswith("1 partition\n")


def test_removing_a_misspelt_name_names_the_existing_ones(run: Run, redis_url: str) -> None:
    run("processor", "add", "tests.cli.shop:picky")
    run("processor", "add", "tests.cli.shop:strict")
    run("processor", "add", PRINTER)
    here = ("--app", "shop", "--redis-url", redis_url, "--yes")
    for typed, meant in (("orders@printr", "orders@printer"), ("orders@strct", "vessel@strict")):
        wrong = run("processor", "remove", typed, *here)
        said, _, names = wrong.stdout.strip().partition("; the registry has ")
        assert said == f"{typed.partition('@')[2]} was not registered"
        assert names.split(", ")[0] == meant
        assert set(names.split(", ")) == {"orders@printer", "tight@picky", "vessel@strict"}


def test_a_processor_without_code_is_removed_by_its_name(run: Run, redis_url: str) -> None:
    run("processor", "add", PRINTER)
    here = ("--app", "shop", "--redis-url", redis_url)
    wrong = run("processor", "remove", "order@printer", *here, "--yes")
    assert wrong.code == 2
    assert "app 'shop' has no stream 'order'; its streams are orders" in one_sentence(wrong.stderr)
    assert run("processor", "remove", "printer", *here, "--yes").code == 2
    removed = run("processor", "remove", "orders@printer", *here, "--yes")
    assert removed.stdout == "removed printer from 4 partitions\n"
    again = run("processor", "remove", "orders@printer", *here, "--yes")
    assert again.stdout == "printer was not registered\n"
    assert run("processor", "remove", PRINTER, "--yes").stdout == "printer was not registered\n"
