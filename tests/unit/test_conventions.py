"""The attributes of spans are those of the convention."""

from __future__ import annotations

import pytest

from runnel.observer import Lease
from runnel.otel import conventions as names


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("redis://:secret@redis.internal:6379/1", "redis.internal"),
        ("rediss://[::1]:6379", "::1"),
        ("redis+sentinel://one:26379,two:26379/main", None),
        ("unix:///run/redis.sock", None),
        ("redis://[broken", None),
    ],
)
def test_the_server_is_named_if_it_is_one_and_its_password_never(
    url: str, host: str | None
) -> None:
    found = names.of_stream("shop", "orders", url)
    assert found.get(names.SERVER) == host
    assert "secret" not in str(found)
    assert found[names.SYSTEM] == "runnel"
    assert found[names.DESTINATION] == "orders"


def test_a_lease_names_processor_partition_and_member() -> None:
    found = names.of_lease(Lease("shop", "billing", "orders", 3, 7, "w-1"), "redis://x")
    assert found[names.PARTITION] == "3", "it is text"
    assert (found[names.GROUP], found[names.CLIENT], found[names.EPOCH]) == ("billing", "w-1", 7)


def test_each_operation_has_its_type() -> None:
    assert names.of_operation("ack") == {
        names.OPERATION_NAME: "ack",
        names.OPERATION_TYPE: "settle",
    }
    assert set(names.OPERATIONS) == {"send", "receive", "process", "ack"}
