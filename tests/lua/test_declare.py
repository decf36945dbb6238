"""declare: what all clients of a stream must agree on."""

from __future__ import annotations

import pytest

from tests.lua.conftest import DELETED, LOG, META, PRODUCERS, STATE, Raw
from tests.lua.steps import ready, refused, repeated

KEYS = [LOG, META, STATE]


async def test_s6_the_first_declare_stores_the_contract(raw: Raw) -> None:
    assert await repeated(raw, "declare", [META], 1, 8, "xxh64") == (1, 0)
    assert await raw.redis.hgetall(META) == {
        b"protocol": b"1",
        b"partitions": b"8",
        b"hash": b"xxh64",
    }


@pytest.mark.fault(48)
async def test_another_protocol_count_or_hash_is_a_mismatch_that_names_both_values(
    raw: Raw,
) -> None:
    await raw.register()
    said = await refused(raw, "MISMATCH", raw.register(count=9))
    assert "stored=8 given=9" in said
    assert await raw.call("declare", [META], 1, 8, "xxh64") == 0
    for protocol, count, name in ((1, 9, "xxh64"), (0, 8, "xxh64"), (1, 8, "md5")):
        await refused(raw, "MISMATCH", raw.call("declare", [META], protocol, count, name))


@pytest.mark.parametrize("who", ["declare", "register"])
async def test_a_deleted_stream_can_be_created_again_with_another_count(raw: Raw, who: str) -> None:
    await ready(raw)
    await raw.call("delete", DELETED)
    if who == "declare":
        assert await repeated(raw, "declare", [META], 1, 9, "xxh64") == (1, 0)
    else:
        assert (await raw.register(count=9))[0] in (1, 2)
    assert await raw.redis.ttl(META) == -1, "it stays"
    assert "stored=9 given=8" in await refused(raw, "MISMATCH", raw.append(1, producer="old"))
    call = raw.call("append", [LOG, META, PRODUCERS], 1, 9, "xxh64", 9, "refuse", "p", 1, 2, "f", 1)
    assert (await call)[0] == 1


async def test_an_impossible_protocol_number_is_refused_and_not_stored(raw: Raw) -> None:
    for protocol in ("9" * 10, "9" * 400):
        args = (protocol, 8, "xxh64")
        await refused(raw, "BADARG", raw.call("declare", [META], *args))
        await refused(raw, "BADARG", raw.call("register", KEYS, *args, "printer", "0"))
    assert (await raw.register())[0] == 1
