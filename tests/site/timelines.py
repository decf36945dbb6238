"""The timelines of docs/ordering.md. `python -m tests.site.timelines` writes them."""

from __future__ import annotations

from collections.abc import Callable

from tests.site.pages import ROOT
from tests.site.timeline import Timeline

FOLDER = ROOT / "docs/images"


def overview() -> Timeline:
    """The path of events: README has it as a diagram of GitHub."""
    made = Timeline("The path of an event", "senders", "Redis", "worker 1", "worker 2")
    for at, key, partition in ((8, "ann", 0), (38, "bob", 1), (68, "cem", 2)):
        made.holds(1, at, at + 26, "line", f"partition {partition}")
        made.arrow(0, 1, at + 13, f"send: key {key}", "line")
        made.event(1, at + 13, "…", "line")
    made.holds(2, 4, 66, "a")
    made.holds(3, 66, 98, "b")
    made.arrow(1, 2, 21, "read; commit", "a")
    made.arrow(1, 2, 51, "read; commit", "a")
    made.arrow(1, 3, 81, "read; commit", "b")
    made.note(2, 7, "your function, for partitions 0 and 1", "a")
    made.note(3, 69, "your function, for partition 2", "b")
    return made


def handover() -> Timeline:
    """A worker joins, and a partition moves without a pause for the others."""
    made = Timeline("A hand-over", "worker A", "partition 3", "its group", "worker B")
    made.holds(0, 0, 54, "a", "A holds partition 3, token 41")
    for at, name in ((8, "5"), (22, "6"), (43, "7")):
        made.event(0, at, name, "a", "✓")
    made.arrow(3, 2, 14, "joins")
    made.note(2, 26, "asks A to give 3 back", below=0)
    made.arrow(0, 1, 52, "commits 7 and releases", "a")
    made.note(2, 56, "grants 3 to B")
    made.arrow(3, 1, 76, "", "b")
    made.note(3, 38, "claims 3: token 42, go on after 7", "b")
    made.holds(3, 77, 100, "b", "")
    made.event(3, 84, "8", "b", "✓")
    made.event(3, 94, "9", "b", "✓")
    return made


def killed() -> Timeline:
    """A worker is killed, and another one goes on after its checkpoint."""
    made = Timeline("A worker is killed", "worker A", "partition 3", "worker B")
    made.holds(0, 0, 38, "a", "A holds partition 3, token 41")
    made.event(0, 6, "5", "a", "✓")
    made.event(0, 26, "6", "a", "✓")
    made.event(0, 34, "7", "a")
    made.note(0, 39, "✗ kill -9", "bad")
    made.arrow(0, 1, 12, "commits 5", "a")
    made.waits(1, 39, 72, "no heartbeat for a session: 10 s")
    made.arrow(2, 1, 73, "claims: token 42, go on after 5", "b", left=True)
    made.holds(2, 74, 100, "b")
    made.event(2, 79, "6", "b", "✓")
    made.event(2, 87, "7", "b", "✓")
    made.event(2, 95, "8", "b", "✓")
    made.note(2, 26, "6 was not committed: it runs again", "b")
    return made


def fenced() -> Timeline:
    """A worker that was suspended wakes up after another one took over."""
    made = Timeline("A zombie is fenced", "worker A", "partition 3", "worker B")
    made.holds(0, 0, 26, "a", "A holds partition 3, token 41")
    made.event(0, 8, "5", "a", "✓")
    made.event(0, 20, "6", "a")
    made.waits(0, 26, 72, "suspended, longer than its session", "bad")
    made.arrow(0, 1, 12, "commits 5", "a")
    made.arrow(2, 1, 46, "claims: token 42; go on after 5", "b")
    made.holds(2, 47, 100, "b")
    made.event(2, 53, "6", "b", "✓")
    made.event(2, 62, "7", "b", "✓")
    made.event(2, 92, "8", "b", "✓")
    made.holds(0, 72, 90, "bad")
    made.event(0, 77, "6", "bad")
    made.arrow(0, 1, 81, "commits 6 with token 41", "bad", left=True)
    made.note(1, 70, "FENCED: nothing is written", "bad", below=4)
    return made


def policies() -> Timeline:
    """One event fails for good, under each policy."""
    made = Timeline(
        "What happens to an event that fails", "QUARANTINE", "PARK", "RETRY_LATER", "IGNORE"
    )
    for lane in range(4):
        made.holds(lane, 0, 100, "a")
        made.event(lane, 5, "1b", "a", "✓")
    for at in (14, 21, 31):
        for lane in (0, 1, 3):
            made.event(lane, at, "2a", "bad", "✗")
    made.note(0, 37, "the partition waits for: runnel processor resume", "bad")
    made.note(1, 35, "2a parked", "wait", below=-22)
    made.event(1, 46, "3b", "a", "✓")
    made.event(1, 56, "4a", "wait")
    made.note(1, 54, "parked behind 2a", "wait", below=-22)
    made.event(1, 72, "5b", "a", "✓")
    made.note(1, 79, "then: dead replay", "wait")
    made.event(2, 14, "2a", "bad", "✗")
    made.note(2, 18, "comes again after its pause", "wait", below=-22)
    made.event(2, 30, "3b", "a", "✓")
    made.event(2, 44, "4a", "a", "✓")
    made.event(2, 58, "2a", "a", "✓")
    made.event(2, 72, "5b", "a", "✓")
    made.note(3, 35, "2a becomes a dead letter", "wait", below=-22)
    for at, name in ((46, "3b"), (59, "4a"), (72, "5b")):
        made.event(3, at, name, "a", "✓")
    return made


def lost_reply() -> Timeline:
    """The reply of a send is lost, and nothing is sent twice."""
    made = Timeline("A reply is lost", "sender", "partition 3", "its log")
    made.arrow(0, 1, 6, "append, number 7", "a")
    made.event(2, 20, "7", "a")
    made.arrow(1, 2, 20, "adds it", "a")
    made.lost(1, 0, 36, "id 1795…-0")
    made.waits(0, 38, 55, "no answer")
    made.arrow(0, 1, 56, "append, number 7, again", "b")
    made.note(1, 56, "knows 7, and adds nothing", "b", below=6)
    made.arrow(1, 0, 88, "id 1795…-0", "b")
    made.note(2, 27, "one entry", "line")
    return made


ALL: dict[str, Callable[[], Timeline]] = {
    "overview": overview,
    "handover": handover,
    "killed": killed,
    "fenced": fenced,
    "policies": policies,
    "lost-reply": lost_reply,
}


if __name__ == "__main__":
    for name, drawn in ALL.items():
        (FOLDER / f"{name}.svg").write_text(drawn().svg())
