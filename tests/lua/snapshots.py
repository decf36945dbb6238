"""Steps of a snapshot of tables."""

from __future__ import annotations

from typing import Any

from tests.lua.conftest import LOG, META, STATE, Raw
from tests.lua.steps import ready, transact

TABLES = ("balances", "limits")
ID, OTHER_ID, THIRD_ID = "a" * 16, "b" * 16, "c" * 16
RECORD = META.replace(":meta", ":snapshot:monday:printer")
FIELD = "snapshot:monday:printer"


def both(key: str) -> tuple[str, str]:
    return key, f"{key}:expiry"


def own(name: str) -> tuple[str, str]:
    """The keys of a table."""
    return both(META.replace(":meta", f":table:{name}"))


def copy(name: str) -> tuple[str, str]:
    """The keys of its copy."""
    return both(f"{RECORD}:table:{name}")


def staged(name: str) -> tuple[str, str]:
    """The keys of the copy that is to be put in place."""
    return both(f"{RECORD}:restore:table:{name}")


BALANCES, LIMITS = own("balances")[0], own("limits")[0]


async def written(raw: Raw) -> tuple[int, list[str]]:
    """A claimed partition, whose first event has written three fields of two tables."""
    epoch, ids = await ready(raw)
    writes = ("table", 2, 0, "alice", "5", "bob", "7", "table", 1, 0, "alice", "100")
    await transact(raw, epoch, "0-0", ids[0], keys=(BALANCES, LIMITS), effects=writes)
    return epoch, ids


async def step(raw: Raw, what: str, id_: str = ID, tables: tuple[str, ...] = TABLES) -> Any:
    keys = [key for name in tables for key in (*own(name), *copy(name))]
    return await raw.call("snapshot", [META, STATE, RECORD, *keys], "printer", what, id_)


async def copied(raw: Raw, *tables: str, restoring: bool = False, **kw: Any) -> list[Any]:
    """Copy tables as a whole. Returns the replies."""
    found = []
    for name in tables or TABLES:
        keys = (*copy(name), *staged(name)) if restoring else (*own(name), *copy(name))
        cursor = "0"
        while True:
            args = (kw.get("id_", ID), cursor, kw.get("count", 100), kw.get("shift", 0))
            found.append(await raw.call("copy_table", [RECORD, *keys], *args))
            if (cursor := found[-1][0]) == "0":
                break
    return found


async def taken(raw: Raw, id_: str = ID) -> None:
    """A whole snapshot."""
    assert (await step(raw, "begin", id_))[0] == 0
    await copied(raw, id_=id_)
    assert (await step(raw, "finish", id_))[0] == 1


async def restore(raw: Raw, nonce: str, tables: tuple[str, ...] = TABLES, **kw: Any) -> Any:
    keys = [key for name in tables for key in (*own(name), *staged(name))]
    args = ("printer", kw.get("id_", ID), kw.get("lost", 0), nonce)
    return await raw.call("restore", [LOG, META, STATE, RECORD, *keys], *args)
