"""S1, S2, S3, S5, S6: the life of a lease, for two processors of one partition.

Claims with new, equal and old grants; commits, dead letters and attempts with the right token, with
old ones and with half of one; from the right checkpoint and from elsewhere; repeated at once and
late; among seeks, pauses, removals and keys that vanish.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from tests.contracts.model import ZERO, Fields, Log, Slot, check_log, check_meta, hash_of
from tests.contracts.operators import AGAIN, OperatorMachine
from tests.contracts.partition import NAME, NAMES, refusal, state_key
from tests.contracts.profile import TIMEOUT, search
from tests.contracts.wire import Arg, Refused, Wire, order
from tests.contracts.world import CONTRACT, SINK_LOG, SINK_META
from tests.lua.conftest import META

pytestmark = pytest.mark.timeout(TIMEOUT)
SINK_SIZE = 3
#: Which token a call carries: the present one, an old one, or parts of two.
TOKEN = st.sampled_from(["mine"] * 9 + ["old", "old epoch", "old nonce", "guess"])
#: Whether the caller is first given what it takes.
READY = st.sampled_from([True, True, True, False])
WHERE = st.sampled_from(["there"] * 6 + ["before", "after"])
STEPS = st.sampled_from([1, 1, 1, 2, 3, 0, -1, -1])


def table_key(name: str) -> str:
    """The key of a table."""
    return META.replace(":meta", f":table:{name}")


class LeaseMachine(OperatorMachine):
    """Holders of leases, honest and late."""

    def __init__(self, wire: Wire) -> None:
        super().__init__(wire)
        self.sink = Log()
        self.tables: dict[str, dict[str, str]] = {"balances": {}, "limits": {}}
        self.writers: dict[str, str] = {}
        self.tokens: dict[str, list[tuple[int, str]]] = {name: [] for name in NAMES}

    @rule(name=NAME, ahead=st.sampled_from([1, 1, 1, 2, 0, -1]), fresh=st.booleans(), again=AGAIN)
    def claim(self, name: str, ahead: int, fresh: bool, again: int) -> None:
        slot = self.slots.get(name)
        seen = slot.grant if slot else 0
        nonce = slot.token[1] if slot and slot.token and not fresh else self.nonce()
        self.do_claim(name, max(seen + ahead, 1), nonce, again)

    def do_claim(self, name: str, grant: int, nonce: str, again: int = 0) -> None:
        slot = self.slots.get(name)
        member = ("me", "you")[grant % 2]
        reply = self.remembered(
            "claim", self.keys(name), [*CONTRACT, name, member, grant, nonce, ""], again
        )
        expected = self.refusal_of_claim(name, grant, nonce)
        if expected or not slot:
            assert reply == expected
            assert reply.details.items() >= expected.details.items() if expected else False
            return
        if grant > slot.grant:
            owner = slot.owner if slot.token and not slot.released else ""
            slot.owner, slot.previous_owner = member, owner
            if slot.token and not slot.released:
                slot.unclean_tenures += bool(self.log.behind(slot.checkpoint))
                if slot.started:
                    same = slot.event == slot.started
                    slot.attempts, slot.deaths = (
                        1 + (each if same else 0) for each in (slot.attempts, slot.deaths)
                    )
                    slot.event = slot.started
            slot.new_token(self.wire.now - again, nonce)
            slot.grant, slot.released, slot.started = grant, False, ""
            assert slot.token is not None
            assert slot.token not in self.tokens[name], "S2: a token has been issued twice"
            self.tokens[name].append(slot.token)
        assert reply == self.answer_of_claim(slot)

    def refusal_of_claim(self, name: str, grant: int, nonce: str) -> Refused | None:
        slot = self.slots.get(name)
        if not slot or name not in self.log.checkpoints:
            removed = int(name in self.removed and name not in self.log.checkpoints)
            return refusal("UNREGISTERED", processor=name, removed=removed)
        same = grant == slot.grant and slot.token and slot.token[1] == nonce and not slot.released
        if grant <= slot.grant and not same:
            return refusal("STALE_GRANT", seen=slot.grant)
        return None if name in self.log.groups else refusal("MISSING")

    def answer_of_claim(self, slot: Slot) -> list[str | int]:
        assert slot.token is not None
        behind = self.log.behind(slot.checkpoint)
        return [
            *(slot.token[0], slot.checkpoint, slot.processed, slot.attempts, slot.event),
            *(slot.unclean_tenures, int(slot.paused), int(slot.quarantined)),
            *(-1, 1, int(slot.checkpoint in self.log.ids), behind[0] if behind else ""),
            slot.deaths,
            slot.previous_owner,
            *(0, 0, 0),
        ]

    def hold(self, name: str) -> None:
        """Whatever has happened: the processor is registered, has a lease and something to do."""
        slot = self.slots.get(name)
        if not slot or name not in self.log.groups or name not in self.log.checkpoints:
            self.do_register(name, "0")
        slot = self.slots[name]
        if not slot.token or slot.released:
            self.do_claim(name, slot.grant + 1, self.nonce())
        if not self.log.behind(slot.checkpoint):
            self.append(3)

    @rule(
        name=NAME,
        ready=READY,
        token=TOKEN,
        where=WHERE,
        steps=STEPS,
        release=st.sampled_from([0, 0, 0, 1]),
        again=AGAIN,
    )
    def commit(
        self,
        name: str,
        ready: bool,
        token: str,
        where: str,
        steps: int,
        release: int,
        again: int,
    ) -> None:
        if ready:
            self.hold(name)
        prev, next_id, count = self.step(name, where, steps)
        args: list[Arg] = [name, *self.token(name, token), prev, next_id, count, release]
        reply = self.remembered("commit", self.keys(name), args, again)
        expected = self.outcome_of_commit(name, args)
        if expected is None:
            self.apply(name, next_id, count, release)
            expected = [1, int(self.slots[name].paused)]
        self.agrees(reply, expected)

    @rule(
        name=NAME,
        ready=READY,
        token=st.sampled_from(["mine"] * 12 + ["old", "old epoch", "old nonce"]),
        where=st.sampled_from(["there"] * 12 + ["before", "after"]),
        steps=STEPS,
        release=st.sampled_from([0, 0, 0, 0, 0, 1]),
        when_full=st.sampled_from(["refuse", "drop_oldest"]),
        letters=st.sampled_from([0, 0, 1, 2]),
        table=st.sampled_from(["balances", "balances", "limits"]),
        sets=st.dictionaries(st.sampled_from("abc"), st.sampled_from("123"), max_size=2),
        deletes=st.lists(st.sampled_from("abcd"), max_size=1),
        again=AGAIN,
    )
    def transact(
        self,
        name: str,
        ready: bool,
        token: str,
        where: str,
        steps: int,
        release: int,
        when_full: str,
        letters: int,
        table: str,
        sets: dict[str, str],
        deletes: list[str],
        again: int,
    ) -> None:
        if ready:
            self.hold(name)
        letters = letters if letters or sets or deletes else 1
        prev, next_id, count = self.step(name, where, steps)
        step: list[Arg] = [name, *self.token(name, token), prev, next_id, count, release]
        keys, effects = self.keys(name), list[Arg]()
        if sets or deletes:
            keys.append(table_key(table))
            pairs = [each for pair in sets.items() for each in pair]
            effects += ["table", len(sets), len(deletes), *pairs, *deletes]
        bodies: list[Fields] = [("msgpack", f"dead {self.nonces}.{i}") for i in range(letters)]
        if letters:
            keys += [SINK_LOG, SINK_META]
            effects += ["derived", SINK_SIZE, when_full, letters]
        for body in bodies:
            effects += [2, *body]
        reply = self.remembered("transact", keys, [*step, *effects], again)
        expected = self.outcome_of_commit(name, step, emits=True)
        room = self.sink.room(SINK_SIZE, letters, when_full) if letters else 0
        written = self.writers.get(table, name) if sets or deletes else name
        impossible = [Refused("NOT_WRITER")] if written != name else []
        impossible += [room] if isinstance(room, Refused) else []
        if expected is None and impossible:
            expected = impossible[0]
        elif expected is None and not isinstance(room, Refused):
            self.apply(name, next_id, count, release)
            self.sink.drop(room, {})
            if letters:
                new = self.wire.seen[SINK_LOG].entries[-letters:]
                self.sink.add(new[0][0], bodies)
            if sets or deletes:
                self.writers[table] = name
                self.tables[table].update(sets)
                for each in deletes:
                    self.tables[table].pop(each, None)
            expected = [1, int(self.slots[name].paused)]
        elif expected == Refused("MISSING") and reply in impossible:
            expected = reply
        self.agrees(reply, expected)

    @invariant()
    def the_tables_are_what_was_committed(self) -> None:
        meta = hash_of(self.wire.seen, META)
        for table, content in self.tables.items():
            assert hash_of(self.wire.seen, table_key(table)) == content
            assert meta.get(f"table:{table}") == self.writers.get(table)

    def outcome_of_commit(
        self, name: str, args: list[Arg], emits: bool = False
    ) -> list[int] | Refused | None:
        """S1 and S6: fenced, a repeat, a conflict; None if it is to be applied."""
        _, epoch, nonce, prev, next_id, _, release = args
        slot = self.slots.get(name)
        if not slot or slot.token != (epoch, nonce):
            return refusal("FENCED", epoch=slot.token[0] if slot and slot.token else 0)
        repeat = [0, int(slot.paused)] if slot.checkpoint == next_id else None
        if slot.released:
            return repeat if repeat and release else refusal("FENCED", epoch=epoch, released=1)
        if slot.checkpoint != prev:
            conflict = refusal("CONFLICT", checkpoint=slot.checkpoint)
            return repeat if repeat and not release else conflict
        if prev == next_id and not emits:
            return None
        if order(str(next_id)) <= order(str(prev)):
            return refusal("BADARG")
        whole = name in self.log.groups and name in self.log.checkpoints
        return None if whole else refusal("MISSING")

    def apply(self, name: str, next_id: str, count: int, release: int) -> None:
        """S3: the checkpoint moves forward, past so many events."""
        slot = self.slots[name]
        if next_id != slot.checkpoint:
            slot.checkpoint = self.log.checkpoints[name] = next_id
            slot.read += count
            slot.processed += count
            slot.progress(next_id)
        slot.released = bool(release)

    @rule(
        name=NAME,
        ready=READY,
        token=TOKEN,
        kind=st.sampled_from(["start", "failure", "quarantine"]),
        which=st.integers(0, 3),
        attempts=st.integers(0, 3),
    )
    def attempt(
        self, name: str, ready: bool, token: str, kind: str, which: int, attempts: int
    ) -> None:
        if ready:
            self.hold(name)
        events = self.log.behind(self.log.checkpoints.get(name, ZERO)) or ["7-7"]
        event = events[which % len(events)]
        epoch, nonce = self.token(name, token)
        args: list[Arg] = [epoch, nonce, kind, event, attempts, "Boom", "it went off"]
        reply = self.call("attempt", [state_key(name)], args, 0)
        slot = self.slots.get(name)
        if not slot or slot.token != (epoch, nonce) or slot.released:
            assert reply == Refused("FENCED")
            return
        if kind != "start" or slot.event != event:
            slot.deaths = 0
        slot.event, slot.attempts = event, attempts
        slot.started = event if kind == "start" else ""
        slot.quarantined = slot.quarantined or kind == "quarantine"
        assert reply == int(slot.paused)
        self.wire.repeat(reply, "attempt", [state_key(name)], *args)

    @precondition(lambda self: self.sent)
    @rule(which=st.integers(0, 1000))
    def an_old_call_arrives_late(self, which: int) -> None:
        """S1, S6: it changes nothing, whatever has happened since."""
        script, keys, args, first = self.sent[-1 - which % min(len(self.sent), 8)]
        before = self.wire.seen
        reply = self.wire.call(script, keys, *args)
        assert self.wire.seen == before, f"{script}, late, wrote"
        if isinstance(reply, Refused):
            return
        if script == "seek":
            assert reply == first, "S6"
        elif script == "claim":
            slot = self.slots[str(args[3])]
            assert (slot.token, slot.released) == ((reply[0], args[6]), False), "still the lease"
        else:
            assert reply[0] == 0 or args[3] == args[4], "a repeat"

    def step(self, name: str, where: str, steps: int) -> tuple[str, str, int]:
        """prev, next and count of a commit."""
        ids = [ZERO, *self.log.ids]
        slot = self.slots.get(name)
        at = ids.index(slot.checkpoint) if slot else 0
        start = {"there": at, "before": max(at - 1, 0), "after": min(at + 1, len(ids) - 1)}[where]
        end = min(max(start + steps, 0), len(ids) - 1)
        return ids[start], ids[end], max(end - start, 0)

    def token(self, name: str, which: str) -> tuple[int, str]:
        """The present token, or one that is not."""
        slot, known = self.slots.get(name), self.tokens[name]
        mine = slot.token if slot and slot.token else (1, "nobody's nonce 00")
        old = known[-2] if len(known) > 1 else (mine[0] - 1, "an old nonce 0000")
        return {
            "mine": mine,
            "old": old,
            "old epoch": (old[0], mine[1]),
            "old nonce": (mine[0], old[1]),
            "guess": (mine[0], ""),
        }[which]

    @staticmethod
    def agrees(reply: Any, expected: list[int] | Refused | None) -> None:
        assert reply == expected
        if isinstance(expected, Refused):
            assert reply.details.items() >= expected.details.items()

    @invariant()
    def dead_letters_are_what_the_model_says(self) -> None:
        check_log(self.sink, self.wire.seen.get(SINK_LOG), {})
        check_meta(self.sink, hash_of(self.wire.seen, SINK_META))


@pytest.mark.fault(3, 18, 20, 21)
def test_s1_s2_s3_s5_s6_the_life_of_a_lease(wire: Wire) -> None:
    search(lambda: LeaseMachine(wire))
