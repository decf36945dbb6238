"""Replies of cluster nodes are read, and commands end with an error if no node answers."""

from __future__ import annotations

import pytest
from redis.exceptions import (
    AskError,
    ClusterDownError,
    ConnectionError,
    MasterDownError,
    MovedError,
    ResponseError,
    TryAgainError,
)

from runnel.connection.cluster import Cluster, fields, typed
from runnel.connection.connect import connect
from runnel.connection.deployment import of


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("MOVED 3999 10.0.0.1:6381", MovedError),
        ("ASK 3999 10.0.0.1:6381", AskError),
        ("TRYAGAIN Multiple keys request during rehashing of slot", TryAgainError),
        ("CLUSTERDOWN Hash slot not served", ClusterDownError),
        ("MASTERDOWN Link with MASTER is down", MasterDownError),
        ("WRONGTYPE Operation against a key", ResponseError),
    ],
)
def test_a_refusal_has_a_class_of_its_own(text: str, kind: type[ResponseError]) -> None:
    found = typed(ResponseError(text))
    assert type(found) is kind
    if isinstance(found, AskError):  # MovedError is one, too.
        assert (found.slot_id, found.host, found.port) == (3999, "10.0.0.1", 6381)


def test_what_is_no_refusal_stays_as_it_is() -> None:
    error = ConnectionError("MOVED 1 h:1")
    assert typed(error) is error
    assert typed(b"MOVED 1 h:1") == b"MOVED 1 h:1"


def test_cluster_info_is_a_dict() -> None:
    info = b"cluster_enabled:1\r\ncluster_state:ok\r\n\r\ncluster_slots_assigned:16384\r\n"
    assert fields(info) == {
        "cluster_enabled": "1",
        "cluster_state": "ok",
        "cluster_slots_assigned": "16384",
    }


async def test_a_cluster_of_which_no_node_answers_is_an_error_for_each_command() -> None:
    async with connect("redis+cluster://127.0.0.1:1,127.0.0.1:2") as client:
        cluster = of(client)
        assert isinstance(cluster, Cluster)
        outcomes = await cluster.send([("a", ("GET", "a")), ("b", ("GET", "b"))])
        assert [type(each) for each in outcomes] == [ConnectionError] * 2
        with pytest.raises(ConnectionError):
            await cluster.refresh()
        with pytest.raises(ClusterDownError, match="has the slot of a"):
            cluster.client_for("a")
