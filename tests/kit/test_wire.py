"""Which reply is whose."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import pytest

from runnel.conformance.history import History
from runnel.conformance.wire import Wire
from runnel.protocol.scripts import sha, sources


def packed(*words: object) -> bytes:
    parts = [str(each).encode() if not isinstance(each, bytes) else each for each in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)


class Seen:
    def __init__(self) -> None:
        self.history = History()
        self.wire = Wire("w1", self.history)

    def sent(self, *commands: Iterable[object]) -> list[str]:
        return [each.script for each in self.wire.requests(b"".join(packed(*c) for c in commands))]


COMMIT = ("EVALSHA", sha("commit"), 3, "log", "meta", "state", "kit", 5)


def test_calls_and_their_replies_in_a_pipeline() -> None:
    seen = Seen()
    assert seen.sent(("PING",), COMMIT, ("XREAD", "x"), COMMIT) == ["commit", "commit"]
    first, second = seen.history.calls
    assert (first.keys, first.args) == ([b"log", b"meta", b"state"], [b"kit", b"5"])
    assert first.place < second.place
    assert seen.wire.replies(b"+PONG\r\n*2\r\n:1\r\n:0\r\n*-1\r\n-FENCED ep") == [first]
    assert seen.wire.replies(b"och=7\r\n") == [second]
    assert (first.ok, second.refused, second.error) == ([1, 0], "FENCED", "FENCED epoch=7")


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_data_may_come_in_any_pieces(size: int) -> None:
    seen, data = Seen(), packed(*COMMIT) + packed("PING")
    found = [
        call for i in range(0, len(data), size) for call in seen.wire.requests(data[i : i + size])
    ]
    assert found == seen.history.calls != []


def test_eval_is_known_by_its_source() -> None:
    seen = Seen()
    assert seen.sent(("eval", sources()["sync"], 0)) == ["sync"]


def test_a_script_that_is_none_of_the_protocol() -> None:
    seen = Seen()
    assert seen.sent(("EVALSHA", "f" * 40, 0)) == [""]
    (call,) = seen.history.calls
    assert call.name == f"a script with the SHA-1 {'f' * 40}"


def test_a_script_of_another_release_has_the_name_of_its_header() -> None:
    seen, source = Seen(), sources()["sync"] + b"-- older\n"
    digest = hashlib.sha1(source).hexdigest()
    seen.sent(("EVALSHA", digest, 0), ("SCRIPT", "LOAD", source), ("EVALSHA", digest, 0))
    assert [call.name for call in seen.history.calls] == [f"sync with the SHA-1 {digest}"] * 2
    assert seen.history.calls[0].shown().startswith(f"w1: sync with the SHA-1 {digest}")


@pytest.mark.parametrize(
    "pushed",
    [
        b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n",
        b">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n>3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n",
    ],
)
def test_what_is_pushed_is_no_reply(pushed: bytes) -> None:
    seen = Seen()
    seen.sent(("SUBSCRIBE", "c"), COMMIT)
    assert seen.wire.replies(pushed) == []
    assert seen.wire.replies(b"*2\r\n:1\r\n:0\r\n") == seen.history.calls
