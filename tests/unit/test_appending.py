"""The streams of a test take events as the scripts do: once, in order, as far as there is room.

That it answers as a server does is tested in ``tests/integration/test_store.py``.
"""

from __future__ import annotations

import pytest

from runnel import protocol
from runnel.errors import Full
from runnel.protocol import PartitionKeys, StreamContract
from runnel.testing.store import Store

NAMES = PartitionKeys("runnel:{app:s:0}:s", "work")
CONTRACT = StreamContract(1, "xxh64")


@pytest.fixture
def store() -> Store:
    return Store(lambda: 5)


def test_entries_of_all_logs_have_one_order(store: Store) -> None:
    other = "runnel:{app:t:0}:t"
    for prefix in (NAMES.prefix, other, NAMES.prefix):
        store.run(protocol.append(prefix, CONTRACT, 9, "refuse", "p", 1, [[b"f", b"v"]]))
    places = [[each.place for each in log.entries] for log in store.logs.values()]
    assert places == [[0, 2], [1]]


def test_a_key_is_remembered_for_its_time() -> None:
    now = 5
    store = Store(lambda: now)
    call = protocol.append_once(NAMES.prefix, CONTRACT, 9, "refuse", "k", 100, [b"f", b"v"])
    assert store.run(call) == [1, "5-0", 1]
    now = 104
    assert store.run(call) == [0, "5-0", 1]
    now = 105
    assert store.run(call) == [1, "105-0", 1]


def test_numbers_are_sent_once(store: Store) -> None:
    def send(*numbers: str) -> list[object]:
        entries = [(number, [b"f", b"v"]) for number in numbers]
        args = (NAMES.prefix, CONTRACT, 9, "refuse", "producer:p", entries)
        reply: list[object] = store.run(protocol.append_numbered(*args))
        return reply

    assert send("1-0", "2-0") == [2, "5-0", 2, "2-0"]
    assert send("2-0", "3-0") == [1, "5-2", 1, "3-0"]
    assert send("1-0") == [0, "", 0, "3-0"]
    assert store.query("HGET", "runnel:{app:s:0}:s:numbers", "producer:p") == b"3-0"
    assert store.query("HGET", "runnel:{app:s:0}:s:numbers", "producer:q") is None


def test_a_refused_call_adds_nothing(store: Store) -> None:
    store.register(NAMES)
    call = protocol.append(NAMES.prefix, CONTRACT, 5, "refuse", "p", 1, [[b"f", b"v"]] * 3)
    store.run(call)
    with pytest.raises(Full, match="processor=work"):
        store.run(call)
    assert len(store.logs[NAMES.log]) == 3
