"""Tells what happened in a trial, step by step, as the kit would have seen it."""

from __future__ import annotations

from typing import Any

import hiredis

from runnel.conformance.case import Case, Findings
from runnel.conformance.contract import PARTS, Done, Sent, parse_id
from runnel.conformance.history import Call, Entry, History, Line
from runnel.conformance.rules import Finding
from runnel.conformance.sender import KEYS, entry, partition_of

#: A key of partition 0.
KEY = next(key for key in KEYS if partition_of(key) == 0)


def refusal(text: str) -> Any:
    return hiredis.ReplyError(text)


class Story:
    """Each step takes a hundredth of a second."""

    def __init__(self) -> None:
        self.history = History()
        self.now = 100.0
        self.numbers = 0

    def _next(self) -> int:
        self.now += 0.01
        return next(self.history.places)

    def event(self, id_: str, key: str = KEY, partition: int = 0, **other: Any) -> None:
        """The log gets an event."""
        self.numbers += 1
        record = {"key": key, "number": self.numbers, "work": 0, "text": "", **other}
        log = self.history.log.setdefault(partition, {})
        log[parse_id(id_)] = Entry(parse_id(id_), entry(record, "json"), record, "")

    def call(self, script: str, keys: Any, *args: Any, reply: Any = None, by: str = "w1") -> Call:
        """A call of an actor. Without a reply it is lost; `answer` passes one on later."""
        names = [str(each).encode() for each in keys]
        values = [str(each).encode() for each in args]
        call = Call(by, script, names, values, self._next(), self.now)
        self.history.calls.append(call)
        if reply is not None:
            self.answer(call, reply)
        return call

    def answer(self, call: Call, reply: Any) -> None:
        """The reply to a call, which arrives."""
        call.reply = reply
        call.answered, call.answered_at = self._next(), self.now

    def claim(self, grant: int = 1, at: str = "0-0", by: str = "w1", **fields: int) -> Call:
        """A claim of partition 0, and its reply. The epoch is ten times the grant."""
        numbers = {"unclean": 0, "paused": 0, "lost": -1, **fields}
        reply = [10 * grant, at.encode(), 0, 0, b"", numbers["unclean"], numbers["paused"], 0]
        reply += [numbers["lost"], 1, 1, b"", 0, b"", 0, 0, 0]
        args = (1, 4, "xxh64", "kit", by, grant, f"nonce-{grant}", "")
        return self.call("claim", PARTS[0].of_script(), *args, reply=reply, by=by)

    def commit(
        self, before: str, to: str, count: int, *, by: str = "w1", grant: int = 1, **more: Any
    ) -> Call:
        """A commit on partition 0 under the token of a grant. `reply` None loses the reply."""
        args = ("kit", 10 * grant, f"nonce-{grant}", before, to, count, more.get("release", 0))
        reply = more.get("reply", [1, 0])
        return self.call("commit", PARTS[0].of_script(), *args, reply=reply, by=by)

    def sync(self, number: int, action: str = "stay", by: str = "w1", **more: Any) -> Call:
        """A heartbeat; `start` is the incarnation, `reported` what is released."""
        member = (by, more.get("start", f"start of {by}"), number, action, "host 1 test 0", 0)
        args = (4, 1500, 5000, 50, *member, *more.get("reported", ()))
        reply = more.get("reply", [number, 1, 1500, -1])
        call = self.call("sync", ("p", "m", "s"), *args, reply=reply, by=by)
        call.connection = more.get("connection", 0)
        return call

    def line(self, id_: str, by: str = "w1", **record: Any) -> Line:
        """A worker's line of an event of partition 0."""
        known = self.history.log.get(0, {}).get(parse_id(id_))
        stored = dict(known.record) if known and known.record else {"key": KEY, "number": 0}
        done = Done(0, parse_id(id_), stored | record)
        line = Line(by, done, self._next(), self.now - 0.005, self.now)
        self.history.lines.append(line)
        return line

    def failed(self, id_: str, by: str = "w1") -> None:
        """A worker's line of an event of partition 0 at which its handler fails."""
        done = Done(0, parse_id(id_), {}, failed=True)
        self.history.failed.append(Line(by, done, self._next(), self.now - 0.005, self.now))

    def sent(self, key: str, number: int, id_: str) -> None:
        """A producer's line."""
        self.history.sent.append(("p1", Sent(key, number, parse_id(id_))))

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds

    def case(self, *actors: Any) -> Case:
        """What the checks get."""
        return Case(self.history, list(actors), 1.5)


def broken(check: Any, story: Story, *actors: Any) -> list[str]:
    """The rules that a check finds broken."""
    return [each.rule for each in findings(check, story, *actors)]


def findings(check: Any, story: Story, *actors: Any) -> list[Finding]:
    """What a check finds."""
    found = Findings()
    check(story.case(*actors), found)
    return found.all()


def good() -> Story:
    """Two events of partition 0, processed and committed one by one."""
    story = Story()
    for id_ in ("1-0", "2-0"):
        story.event(id_)
    for partition in PARTS:
        args = (1, 4, "xxh64", "kit", 0)
        story.call("register", partition.of_script(), *args, reply=[1, b"0-0"])
    story.sync(1)
    story.claim()
    story.line("1-0")
    story.commit("0-0", "1-0", 1)
    story.line("2-0")
    story.commit("1-0", "2-0", 1)
    return story
