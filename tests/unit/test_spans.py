"""Contexts go into headers and come out of them, whatever is in there."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider

from runnel.otel.spans import MOST_LINKS, added_at, context_of, injected, links_to, sent_by

TRACER = TracerProvider().get_tracer("test")
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def event(**headers: str) -> list[Any]:
    fields = [part for name, text in headers.items() for part in (f"@{name}", text)]
    return [b"1795435471123-0", [b"msgpack", b"\x80", *[each.encode() for each in fields]]]


def test_without_a_current_span_headers_stay_as_they_are() -> None:
    given = {"own": "1"}
    assert injected(given, Context()) is given
    assert injected(None, Context()) is None


def test_the_context_is_added_unless_the_user_has_given_one() -> None:
    here = trace.set_span_in_context(TRACER.start_span("here"))
    found = injected({"own": "1"}, here)
    assert found is not None
    assert set(found) == {"own", "traceparent"}
    given = {"traceparent": PARENT}
    assert injected(given, here) is given
    wrong: Any = ["not a map"]
    assert injected(wrong, here) is wrong, "it is refused where it always was"


def test_what_comes_out_is_what_went_in() -> None:
    found = sent_by(event(traceparent=PARENT, tracestate="vendor=1"))
    assert f"{found.trace_id:x}" == "af7651916cd43dd8448eb211c80319c"
    assert found.trace_state.to_header() == "vendor=1"
    assert found.is_remote


@pytest.mark.parametrize("text", ["", "broken", "00-0-0-0", "ff" * 500, "\x00", "00-é"])
def test_what_is_no_context_is_ignored(text: str) -> None:
    assert not sent_by(event(traceparent=text)).is_valid
    assert links_to([event(traceparent=text), event()]) == []
    base = Context({"own": 1})
    assert context_of(event(), base) is base


def test_links_name_the_event_and_are_bounded() -> None:
    links = links_to([event(traceparent=PARENT)] * (MOST_LINKS + 50))
    assert len(links) == MOST_LINKS
    assert (links[0].attributes or {})["messaging.message.id"] == "1795435471123-0"


def test_when_an_event_was_added() -> None:
    assert added_at(event()) == 1795435471123 * 1_000_000
