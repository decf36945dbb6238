"""Commands for the tests of the command line, and how their errors must look."""

from __future__ import annotations

from tests.cli.conftest import GOOD

ORDERS, APP, PRINTER = "tests.cli.shop:orders", "tests.cli.shop:app", "tests.cli.shop:printer"
TOTALS, COUNTER = "tests.cli.shop_tables:totals", "tests.cli.shop_tables:counter"


#: Not a number of seconds, although Python reads it as a number.
NO_SECONDS = ["nan", "inf", "1e308"]


#: One of each kind of command that talks to Redis.
TALKERS = [
    ["send", ORDERS, GOOD],
    ["send", ORDERS, GOOD, "--json"],
    ["sendmany", ORDERS, "-"],
    ["sendmany", ORDERS, "-", "--json"],
    ["worker", APP],
    ["inspect", APP],
    ["inspect", APP, "--json"],
    ["inspect", APP, "--watch"],
    ["processor", "add", PRINTER],
    ["processor", "reset", PRINTER, "--start", "0", "--execute"],
    ["processor", "pause", PRINTER],
    ["processor", "resume", PRINTER],
    ["processor", "remove", PRINTER, "--yes"],
    ["stream", "delete", ORDERS, "--yes"],
    ["stream", "create", ORDERS],
    ["stream", "list", APP],
    ["stream", "show", ORDERS],
    ["stream", "trim", ORDERS, "--to-size", "9", "--execute"],
    ["table", "list", "tests.cli.shop_tables:app"],
    ["table", "get", TOTALS, "alice"],
    ["table", "export", TOTALS],
    ["table", "clear", TOTALS, "--execute"],
    ["table", "snapshot", COUNTER, "monday"],
    ["table", "snapshots", COUNTER],
    ["table", "restore", COUNTER, "monday", "--execute"],
    ["table", "delete-snapshot", COUNTER, "monday", "--execute"],
    ["tail", ORDERS],
    ["tail", ORDERS, "--follow"],
    ["show", ORDERS, "0", "1-0"],
    ["delayed", "list", ORDERS],
    ["delayed", "cancel", ORDERS, "0", "1-0"],
    ["check", APP],
    ["check", APP, "--member", "w-1"],
]


#: Those that name the permissions that are missing.
WRITERS = [
    each
    for each in TALKERS
    if each[0] not in ("inspect", "check") and each[:2] != ["stream", "list"]
]


def one_sentence(said: str) -> str:
    """The text of stderr. Fails unless it is one line, an error without a traceback."""
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said
