"""What must hold for a processor that has several events of a partition at the same time.

Those of one key are handled in order and one at a time, each after all before it; no more run than
may; and no more lie beyond an event that is not finished than the bound for repeats allows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.simulation.stored import Fields, Partition, parts
from tests.simulation.tenure import Tenure


@dataclass(frozen=True)
class Together:
    """`key_of` is the key of an event. `concurrency` run at most, and `limit` are in hand."""

    key_of: Callable[[Fields], str]
    concurrency: int
    limit: int

    def start(
        self, tenure: Tenure, id_: str, partition: Partition, checkpoint: str | None
    ) -> str | None:
        """An event starts, while the checkpoint is there, if that is known. Returns what is wrong
        with that, or None."""

        def key_of(each: str) -> str:
            return self.key_of(partition.shown(each))

        key, last = key_of(id_), tenure.last_of.get(key_of(id_), "0-0")
        if same := [each for each in tenure.in_hand if key_of(each) == key]:
            return f"{id_} starts while {same} of the same key runs"
        if parts(id_) <= parts(last):
            return f"{id_} after {last} of the same key"
        if id_ in tenure.started:
            return f"{id_} starts twice in a tenure"
        if len(tenure.in_hand) >= self.concurrency:
            return f"{id_} starts while {tenure.in_hand} run"
        tenure.last_of[key] = id_
        if checkpoint is None or partition.log is None or id_ not in partition.known:
            return None
        ahead = [each for each in partition.log.after(checkpoint) if parts(each) <= parts(id_)]
        before = [each for each in ahead[:-1] if key_of(each) == key and each not in tenure.done]
        if before:
            return f"{id_} starts before {before} of the same key"
        if tenure.rolled_back:
            return None  # What the worker believes to be committed is not.
        first = next((i for i, each in enumerate(ahead) if each not in tenure.finished), 0)
        beyond = len(ahead) - first
        return f"{beyond} events from {ahead[first]} to {id_}" if beyond > self.limit else None

    def failed(self, tenure: Tenure, ids: Sequence[str], partition: Partition) -> None:
        """Events have failed: they may start again."""
        for id_ in ids:
            key = self.key_of(partition.shown(id_))
            of_key = [i for i in tenure.started if self.key_of(partition.shown(i)) == key]
            tenure.last_of[key] = max(of_key, key=parts, default="0-0")


def finished_prefix(tenure: Tenure, partition: Partition, checkpoint: str) -> dict[str, float]:
    """The events behind the checkpoint that are finished without a gap, and since when that can
    have been committed. A worker may still have one in hand that was removed from the log."""
    found, since = dict[str, float](), 0.0
    for id_ in (each for each in partition.known if parts(each) > parts(checkpoint)):
        if id_ not in tenure.finished:
            break
        since = max(since, tenure.finished[id_])
        if partition.log and id_ in partition.log.entries:
            found[id_] = since
    return found
