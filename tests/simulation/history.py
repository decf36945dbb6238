"""Checks what was committed against what handlers did.

The model says what a call must do to the keys. This checks what the calls mean: an event is
committed only once it is finished or skipped by the policy, no event that a clean release has
committed is handled again, losses are reported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from redis.exceptions import ResponseError

from runnel.protocol import Token
from runnel.protocol.scripts import Call
from tests.simulation.counting import Truth, name_of
from tests.simulation.emitting import MOVES
from tests.simulation.handled import Handled, Spot, number_of
from tests.simulation.outboxes import emitted_by, sender_of, waits_in_outbox
from tests.simulation.stored import Fields, Partition, parts, split
from tests.simulation.tenure import Tenure
from tests.simulation.together import finished_prefix


class History(Handled):
    """Everything that handlers did, and what was committed of it."""

    def state_before(self, call: Call, partition: Partition) -> dict[str, str]:
        """A copy of the processor's state, for scripts whose effect on it is checked."""
        if call.script not in ("claim", "commit", "transact", "seek"):
            return {}
        return dict(partition.states.get(str(call.args[3 if call.script == "claim" else 0]), {}))

    def applied(
        self, call: Call, reply: Sequence[Any], partition: Partition, before: dict[str, str]
    ) -> None:
        """The server applied a call, with the reply that the model expects."""
        prefix = split(call.keys[0])[0]
        if call.script == "claim":
            self._claimed((prefix, str(call.args[3])), call, reply, partition, before)
        elif call.script in ("commit", "transact") and reply[0] == 1:
            self._committed((prefix, str(call.args[0])), call, partition)
        elif call.script == "register" and reply[0] == 1:
            # Entries deleted before the registration do not count as lost for this processor.
            existing = partition.log.entries if partition.log else {}
            removed_ids = {id_ for id_ in partition.known if id_ not in existing}
            partition.counted.setdefault(str(call.args[3]), set()).update(removed_ids)
        elif call.script == "seek" and before.get("last_seek") != self._last_seek(call, partition):
            self._sought((prefix, str(call.args[0])), partition)
        elif call.script == "remove":
            self._removed((prefix, str(call.args[0])), partition)

    def _last_seek(self, call: Call, partition: Partition) -> str | None:
        return partition.states[str(call.args[0])].get("last_seek")

    def _sought(self, spot: Spot, partition: Partition) -> None:
        """An operator has set the checkpoint: events after it must be processed, even again; events
        up to it need not. Entries that are already deleted do not count as lost."""
        at = partition.states[spot[1]]["checkpoint"]
        existing = partition.log.entries if partition.log else {}
        partition.skipped_by_seek[spot[1]] = {i for i in partition.known if parts(i) <= parts(at)}
        partition.counted.setdefault(spot[1], set()).update(
            i for i in partition.known if i not in existing
        )
        partition.uncounted.pop(spot[1], None)
        finished = self.finished.get(spot, set())
        finished.difference_update([i for i in finished if parts(i) > parts(at)])

    def _removed(self, spot: Spot, partition: Partition) -> None:
        """Forget what it has processed: a processor of this name starts from the beginning."""
        for kept in (
            partition.skipped_by_seek,
            partition.counted,
            partition.uncounted,
            partition.processors,
        ):
            kept.pop(spot[1], None)
        self.finished.pop(spot, None)
        self.removed[spot] = self._clock()

    def refused(self, call: Call, word: str) -> None:
        """The server refused a call, as the model expects."""
        if word == "FULL" and call.script == "transact":
            _, epoch, nonce = map(str, call.args[:3])
            spot = (split(call.keys[0])[0], str(call.args[0]))
            self.tenures.setdefault((spot, Token(int(epoch), nonce)), Tenure()).no_room = True
        if word == "CONFLICT" and not self.conflicts_allowed:
            spot = (split(call.keys[0])[0], str(call.args[0]))
            self._check(False, "S6", spot, f"a commit had a wrong checkpoint: {call.args}")

    def synced(self, call: Call, reply: Any) -> None:
        """A `sync` may have renewed a member's session."""
        if call.script == "sync" and not isinstance(reply, ResponseError):
            group = call.keys[0].removesuffix(":plan")
            member = (group, str(call.args[4]), str(call.args[5]))
            if self._clock() > self.sessions.get(member, self._clock()):
                grants = zip(reply[4::3], reply[6::3], strict=True)
                self.rejoined[member] = self._clock(), {int(p) for p, hold in grants if int(hold)}
            self.sessions[member] = self._clock() + int(reply[2]) / 1000

    def _claimed(
        self,
        spot: Spot,
        call: Call,
        reply: Sequence[Any],
        partition: Partition,
        before: dict[str, str],
    ) -> None:
        if before.get("epoch") != str(reply[0]):
            claim = (spot, str(call.args[5]))
            first = self.nonces.setdefault(str(call.args[6]), claim)
            self._check(first == claim, "S2", spot, f"one nonce for two claims: {first}, {claim}")
            if before.get("released") == "0" and before.get("started"):
                self.deaths[spot, before["started"]] += 1
            tenure = self.tenures.setdefault((spot, _token_of(call, reply)), Tenure())
            tenure.claimed, tenure.paused = self._clock(), True
        if not (reply[6] or reply[7]):  # Possibly only with the claim that accepts a loss.
            self.tenures.setdefault((spot, _token_of(call, reply)), Tenure()).paused = False
        uncounted = partition.uncounted.get(spot[1], set())
        counted = int(partition.states[spot[1]].get("lost", 0)) - int(before.get("lost", 0))
        if before.get("read") != partition.states[spot[1]]["read"]:
            self._check(
                partition.keys_lost or counted == len(uncounted),
                "S7",
                spot,
                f"{counted} reported lost, {uncounted} are",
            )
            partition.counted.setdefault(spot[1], set()).update(uncounted)
            uncounted.clear()

    def _committed(self, spot: Spot, call: Call, partition: Partition) -> None:
        processor, epoch, nonce, prev, next_id, count, release = map(str, call.args[:7])
        tenure = self.tenures.get((spot, Token(int(epoch), nonce)), Tenure())
        committed = [i for i in partition.known if parts(prev) < parts(i) <= parts(next_id)]
        uncounted, counted = (
            each.get(processor, set()) for each in (partition.uncounted, partition.counted)
        )
        with_effects = [i for i in committed if i in tenure.done]
        self._check_table(spot, with_effects, partition)
        self._check_emitted(spot, with_effects, call, partition)
        done = 0
        for id_ in committed:
            if id_ in counted:
                continue  # Counted as lost, even if its handler had it in hand.
            if id_ in tenure.done or (id_ == next_id and self._may_skip(spot, id_)):
                uncounted.discard(id_)
            elif partition.keys_lost and not (partition.log and id_ in partition.log.entries):
                continue
            elif id_ in uncounted:
                # The counts show this loss once there is nothing left to process.
                allowed = partition.keys_lost or id_ in partition.deleted
                self._check(
                    allowed, "S7", spot, f"{id_} was trimmed, and committed without a report"
                )
                continue
            else:
                self._check(False, "S4", spot, f"{id_} was committed and never finished")
            done += 1
        self._check(
            partition.keys_lost or done == int(count),
            "S4",
            spot,
            f"{count} counted, {done} done: {committed}",
        )
        # What finds no room when the partition must be given back is left to the next owner.
        if release == "1" and not tenure.no_room:
            existing = partition.log.entries if partition.log else {}
            confirmed = [
                i for i in tenure.finished if i in existing and i not in tenure.unconfirmed
            ]
            late = [i for i in confirmed if parts(i) > parts(next_id)]
            if processor in self.together:  # Others lie behind one that is not finished.
                late = list(finished_prefix(tenure, partition, next_id))
            self._check(not late, "S9", spot, f"released at {next_id} with {late} finished")
        tenure.no_room = False
        if release == "1":
            hand = tenure.in_hand
            self._check(not hand, "S9", spot, f"released at {next_id} with {hand} in hand")

    def _check_table(self, spot: Spot, done: Sequence[str], partition: Partition) -> None:
        """S10: after each commit, a table has counted the events that it and earlier commits
        cover, each once, and no other events."""
        event_of = self.counts.get(spot[1])
        if event_of is None:
            return
        truth = partition.truths.setdefault(spot[1], Truth())
        for id_ in done:
            truth.commit(*event_of(partition.known[id_]), own=spot[1] in self.together)
        table, must = partition.tables.get(name_of(spot[1]), {}), truth.stored()
        self._check(table == must, "S10", spot, f"after {done}: the table has {table}, not {must}")

    def _check_emitted(
        self, spot: Spot, done: Sequence[str], call: Call, partition: Partition
    ) -> None:
        """S11: a commit adds what the events that it covers have emitted to each partition, in
        order, each once, and nothing else."""
        must: dict[str, list[Fields]] = {}
        emits = self.emits.get(spot[1])
        for id_ in done if emits else ():
            assert emits
            for prefix, item, entry in emits(number_of(spot), partition.known[id_]):
                must.setdefault(prefix, []).append(entry)
                if prefix.endswith(f":{MOVES}"):
                    partition.moved.setdefault(spot[1], Counter())[item.key] += 1
        found = {
            prefix: entries
            for prefix, entries in emitted_by(call).items()
            if not prefix.endswith(".dead")
        }
        for prefix in waits_in_outbox(call):
            owed = partition.owed.setdefault(spot[1], {})
            owed.setdefault(prefix, []).extend(found[prefix])
            sender = sender_of(*spot)
            self.ever_owed.setdefault((sender, prefix), set()).update(found[prefix])
        self._check(found == must, "S11", spot, f"{done} have emitted {must}, {found} is committed")

    def _may_skip(self, spot: Spot, id_: str) -> bool:
        """Whether the policy may skip an event. One death alone is not enough."""
        failures, deaths = self.failures[spot, id_], self.deaths[spot, id_]
        proved = failures + deaths > self.retries and (failures > 0 or deaths > 1)
        return spot[1] in self.ignores_failures and proved

    def worker_crashed(self, spot: Spot, token: Token, partition: Partition, since: float) -> None:
        """A healthy worker died: every event it finished before `since` must be committed."""
        state, tenure = partition.states.get(spot[1], {}), self.tenures.get((spot, token))
        if tenure is None or tenure.no_room or not self._owns(state, token):
            return
        finished = tenure.finished
        if spot[1] in self.together:
            finished = finished_prefix(tenure, partition, state["checkpoint"])
        for id_, at in finished.items():
            # What another server had alone is no event of this history.
            late = id_ in partition.known and parts(id_) > parts(state["checkpoint"]) and at < since
            self._check(not late, "S9", spot, f"{id_}, finished at {at:.4f}, was not committed")

    def complete(self, spot: Spot, partition: Partition) -> None:
        """At the end: every event is processed, and every loss was counted."""
        state, log = partition.states[spot[1]], partition.log
        checkpoint, finished = state["checkpoint"], self.finished.get(spot, set())
        behind = log.after(checkpoint) if log else []
        self._check(not behind, "L6", spot, f"{behind} were never processed, at {checkpoint}")
        for id_ in log.entries if log else ():
            over = id_ in partition.skipped_by_seek.get(spot[1], ())
            done = id_ in finished or over or self._may_skip(spot, id_)
            self._check(done, "S4", spot, f"{id_} was never finished")
        uncounted = partition.uncounted.get(spot[1], set())
        self._check(
            partition.keys_lost or not uncounted, "S7", spot, f"{uncounted} lost, never reported"
        )
        if log and not partition.keys_lost:
            read = (checkpoint, log.added)
            self._check(log.groups[spot[1]] == read, "S7", spot, f"{log.groups} should be {read}")


def _token_of(call: Call, reply: Sequence[Any]) -> Token:
    """The token that a claim has issued."""
    return Token(int(reply[0]), str(call.args[6]))
