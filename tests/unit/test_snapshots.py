"""The calls about snapshots have their keys in the order of the scripts' headers."""

from __future__ import annotations

from runnel import protocol
from runnel.protocol import Page, PartitionKeys, SnapshotKeys, SnapshotReply

AT = SnapshotKeys(PartitionKeys("runnel:{a:s:0}:s", "p"), "monday")
TABLE, COPY = "runnel:{a:s:0}:s:table:t", "runnel:{a:s:0}:s:snapshot:monday:p:table:t"
STAGED = "runnel:{a:s:0}:s:snapshot:monday:p:restore:table:t"


def test_each_table_comes_with_the_keys_of_its_copy() -> None:
    assert AT.field == "snapshot:monday:p"
    taken = (TABLE, f"{TABLE}:expiry", COPY, f"{COPY}:expiry")
    call = protocol.snapshot(AT, ["t"], "begin", "id")
    assert call.keys == (AT.of.meta, AT.of.state, AT.record, *taken)
    assert call.args == ("p", "begin", "id")
    copied = protocol.copy_table(AT, AT.restored("t"), "id", "0", 9, 7)
    assert copied.keys == (AT.record, COPY, f"{COPY}:expiry", STAGED, f"{STAGED}:expiry")
    assert copied.args == ("id", "0", 9, 7)
    restored = protocol.restore(AT, ["t"], "id", 3, "nonce")
    assert restored.keys[3:] == (AT.record, *taken[:2], *AT.staged("t"))
    assert restored.args == ("p", "id", 3, "nonce")


def test_replies_are_read() -> None:
    assert protocol.read_snapshot([1, b"5-0"]) == SnapshotReply(True, "5-0")
    assert protocol.read_copy_table([b"17", 3, 40]) == Page("17", 3, 40)
