"""What has failed, in words as the worker reports it, and as the exception that was raised."""

from __future__ import annotations

from runnel import App, Record
from runnel.protocol import PartitionKeys, Token, attempt
from runnel.protocol.scripts import Call
from runnel.testing.failures import Failures, quarantined
from runnel.testing.store import Store


class Item(Record):
    key: str


STREAM = App("depot").stream("items", record=Item, partition_by="key").spec
NAMES = PartitionKeys(STREAM.prefix(3), "work")


def failures() -> Failures:
    store = Store(lambda: 5)
    store.register(NAMES)
    store.logs[NAMES.log].add(0, 5, STREAM.encode(Item(key="a")))
    store.logs[NAMES.log].add(1, 5, [b"no", b"record"])
    return Failures(store)


def report(kind: str, event: str, attempts: int = 1, error: str = "ValueError") -> Call:
    return attempt(NAMES, Token(1, "n"), kind, event, attempts, (error, "boom"))


def test_a_failure_has_its_record_and_what_was_raised() -> None:
    it, error = failures(), ValueError("boom")
    it.note("work", 3, error)
    it.take_in(report("failure", "5-0"), STREAM)
    (made,) = it.all
    assert (made.processor, made.partition, made.event, made.attempt) == ("work", 3, "5-0", 1)
    assert (made.record, made.error, made.message) == (Item(key="a"), error, "ValueError: boom")


def test_another_fault_than_the_exception_has_none() -> None:
    it = failures()
    it.note("work", 3, ValueError("an earlier one"))
    it.take_in(report("failure", "5-1"), STREAM)
    assert it.all.pop().error is None
    it.take_in(report("failure", "5-1", error="HandlerTimeout"), STREAM)
    assert (it.all[0].error, it.all[0].record) == (None, None)


def test_a_quarantine_is_no_further_attempt_and_a_start_is_none() -> None:
    it = failures()
    it.take_in(report("start", "5-0"), STREAM)
    it.take_in(report("failure", "5-0", 4), STREAM)
    it.take_in(report("quarantine", "5-0", 4), STREAM)
    assert len(it.all) == 1
    last = it.last["work", 3]
    assert it.new([last]) == [last]
    assert it.new([last]) == [], "it is told once"
    assert "partition 3 is quarantined: event 5-0 failed 4 times: ValueError: boom" in quarantined(
        [last]
    )
    assert "partition 3, and 1 more, is quarantined" in quarantined([last, last])
