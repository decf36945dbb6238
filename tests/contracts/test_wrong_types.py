"""S5: a key of the wrong type, or with junk for values, fails the call before anything is written.

Redis does not roll back: a script that meets such a key behind its first write has done half of its
work. So each key of each script is replaced in turn, under a call that needs all of them.
"""

from __future__ import annotations

import re

import pytest

from tests.contracts.wire import HEADERS, Refused, Wire
from tests.contracts.world import MORE_KEYS, valid_calls


def keys_of(script: str) -> list[tuple[str, str]]:
    """Name and type of each key of the call."""
    header = HEADERS[script]
    names = [name for name, _ in header.keys]
    return [*zip(names, header.key_types, strict=True), *MORE_KEYS.get(script, [])]


KEYS = [
    pytest.param(script, index, id=f"{script}-{name}")
    for script in HEADERS
    for index, (name, _) in enumerate(keys_of(script))
]
#: What is deleted is, whatever stands there.
DELETED = {
    *(("remove", each) for each in ("state", "parked", "parked_keys", "replay", "postponed")),
    *(("delete", each) for each in ("log", "meta", "producers", "numbers", "delayed", "table")),
    *(("snapshot", each) for each in ("copy", "copy_expiry")),
    *(("restore", each) for each in ("values", "expiry")),
}


@pytest.mark.fault(33)
@pytest.mark.parametrize("kind", ["string", "list", "other"])
@pytest.mark.parametrize(("script", "index"), KEYS)
def test_s5_a_key_of_the_wrong_type_fails_the_call_before_it_writes(
    wire: Wire, script: str, index: int, kind: str
) -> None:
    call, (name, usual) = valid_calls(wire)[script], keys_of(script)[index]
    key, redis = call.keys[index], wire.redis
    redis.delete(key)
    if kind == "string":
        redis.set(key, "junk")
    elif kind == "list":
        redis.rpush(key, "junk")
    elif usual == "hash":
        redis.xadd(key, {"junk": "junk"})
    else:
        redis.hset(key, "junk", "junk")
    before = wire.snapshot()
    outcome = wire.send(script, call.keys, *call.args)
    if (script, name) in DELETED:
        assert not isinstance(outcome, Refused)
        assert key not in wire.snapshot() or usual in ("hash", "zset")
        return
    assert isinstance(outcome, Refused), outcome
    assert outcome.word in {"WRONGTYPE", *HEADERS[script].errors}, outcome.text
    assert wire.snapshot() == before


#: What a foreign hand, or a fault of memory, may leave in a field; None for no field at all.
JUNK = ["", "x", "1.5", "nan", "9" * 30, None]
#: Fields of which there is one for each partition or member: one stands for all.
MANY = re.compile(r"p:[1-9]\d*")


@pytest.mark.fault(33)
@pytest.mark.parametrize("script", HEADERS)
def test_s5_a_field_with_junk_never_leaves_a_call_half_done(wire: Wire, script: str) -> None:
    call = valid_calls(wire)[script]
    fields = [
        (key, field)
        for key, (_, kind) in zip(call.keys, keys_of(script), strict=True)
        if kind == "hash"
        for field in wire.seen.get(key, {})
        if not MANY.fullmatch(field)
    ]
    for key, field in fields:
        for junk in JUNK:
            call = valid_calls(wire)[script]
            if junk is None:
                wire.redis.hdel(key, field)
            else:
                wire.redis.hset(key, field, junk)
            before = wire.snapshot()
            outcome = wire.send(script, call.keys, *call.args)
            if isinstance(outcome, Refused):
                assert wire.snapshot() == before, f"{field}={junk}: {outcome.text}, and wrote"
