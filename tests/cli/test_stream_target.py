"""A stream is found in the code, by its name in an app, or without code."""

from __future__ import annotations

import pytest

from tests.cli.commands import APP, ORDERS
from tests.cli.conftest import GOOD, Run

HERE = ("--app", "shop", "--stream", "orders")


@pytest.mark.parametrize(
    "named",
    [(ORDERS,), (APP, "--stream", "orders"), HERE, ("shop/orders",)],
    ids=["stream", "app", "no code", "no code in a word"],
)
def test_a_stream_is_found(run: Run, named: tuple[str, ...]) -> None:
    partition, id_ = run("send", ORDERS, GOOD).stdout.split()
    done = run("tail", *named)
    assert done.stdout.split()[1:3] == [partition, id_]


def test_the_url_may_come_from_an_option(run: Run, redis_url: str) -> None:
    run("send", ORDERS, GOOD)
    done = run("tail", *HERE, "--redis-url", redis_url, url=None)
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "give a TARGET such as example:orders; or, without its code"),
        (["--app", "shop"], "give a TARGET such as example:orders"),
        (["--stream", "orders"], "give a TARGET such as example:orders"),
        ([ORDERS, "--app", "shop"], "give a TARGET or --app, not both"),
        (["shop/orders", "--app", "shop"], "give a TARGET or --app, not both"),
        (["shop/orders", "--stream", "orders"], "names the stream: leave --stream out"),
        (["shop/ordes"], "has no stream 'ordes'; its streams are"),
        (["shop/orders.py"], "must have the form module:attribute"),
        ([APP], "is an App, not a stream; there is tests.cli.shop:orders"),
        ([APP, "--stream", "ordes"], "has no stream 'ordes'; did you mean 'orders'?"),
        ([APP, "--stream", "zzz"], "has no stream 'zzz'; there is brief, logs, named, orders"),
        (["--app", "a b", "--stream", "orders"], "name 'a b' is not usable"),
    ],
)
def test_what_names_no_stream_is_refused_with_a_hint(
    run: Run, arguments: list[str], says: str
) -> None:
    done = run("tail", *arguments)
    assert (done.code, done.stdout) == (2, "")
    assert says in done.stderr
