"""Forwards what commits have written to the outbox: to streams in other slots of a Redis Cluster.

A partition has a forwarder while it is held and something waits. Each append is repeated until it
is answered, and its target recognises repeats. So nothing is lost and nothing comes twice, wherever
a worker dies: the next owner of the lease begins with the oldest entry that is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from redis.exceptions import RedisError

from runnel import protocol
from runnel.core.outbox import Outbox, Target, Waiting
from runnel.core.partition import PartitionState
from runnel.errors import ConfigError, Full, Mismatch, Missing, ProtocolError
from runnel.log import about, logger_of
from runnel.worker import outage_log, rebalance_log
from runnel.worker.backend import Backend
from runnel.worker.callbacks import Callbacks
from runnel.worker.cancelling import cancel_and_wait
from runnel.worker.full_targets import FullTargets

logger = logger_of("runnel.worker")

#: Seconds before a call is repeated, at first and at most.
PAUSE, LONGEST_PAUSE = 0.05, 2.0
#: Seconds for which the release of a partition waits for its outbox.
PATIENCE = 1.0

_Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class Forwarders:
    """The forwarders of the partitions that one member holds.

    `release` is called for a partition that is draining when its forwarder has ended.
    """

    def __init__(
        self,
        processor: str,
        backend: Backend,
        callbacks: Callbacks,
        release: Callable[[PartitionState], None],
        spawn: _Spawn,
    ) -> None:
        self._processor = processor
        self._backend = backend
        self._callbacks = callbacks
        self._release = release
        self._spawn = spawn
        self._forwarders: dict[PartitionState, Forwarder] = {}
        self._full = FullTargets(processor)

    def add(self, state: PartitionState) -> None:
        """The partition was claimed: forward what its outbox has."""
        if state.outbox_waits:
            self.wrote(state)

    def wrote(self, state: PartitionState) -> None:
        """A commit has written to the outbox."""
        if state not in self._forwarders:
            self._forwarders[state] = Forwarder(
                state, self._processor, self._backend, self._callbacks, self._full
            )
        forwarder = self._forwarders[state]
        forwarder.outbox.wrote()
        forwarder.wake.set()
        if not state.forwarding:
            state.forwarding = True
            forwarder.task = self._spawn(self._run(state, forwarder))

    async def _run(self, state: PartitionState, forwarder: Forwarder) -> None:
        try:
            await forwarder.run()
        finally:
            state.forwarding = False
        self._callbacks.on_change(state)
        if state.draining:
            self._release(state)

    def leave(self, state: PartitionState) -> None:
        """The partition is draining: forward only what can be forwarded soon."""
        if state.forwarding:
            self._forwarders[state].leave()

    def remove(self, state: PartitionState) -> None:
        """The partition is not held any more."""
        self._full.left(state.partition)
        forwarder = self._forwarders.pop(state, None)
        if forwarder is not None and forwarder.task is not None:
            forwarder.task.cancel()

    def reason_of(self, state: PartitionState, refusal: Full) -> Full | None:
        """Why a commit found no room, for people: if its outbox has none, the refusal of the target
        that is full. None if all targets take entries, so that there will be room soon."""
        if refusal.details.get("sink") != state.keys.outbox:
            return refusal
        forwarder = self._forwarders.get(state)
        return forwarder.outbox.full if forwarder is not None else None


class Forwarder:
    """Forwards the outbox of one partition, under one lease."""

    def __init__(
        self,
        state: PartitionState,
        processor: str,
        backend: Backend,
        callbacks: Callbacks,
        full: FullTargets,
    ) -> None:
        self._full = full
        self.outbox = Outbox(state.keys)
        self.wake = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self._state = state
        self._processor = processor
        self._backend = backend
        self._callbacks = callbacks
        self._sender = protocol.outbox_sender(state.keys)
        self._appending: set[asyncio.Task[None]] = set()
        self._until: float | None = None

    def leave(self) -> None:
        """End soon, because the lease is to be released."""
        if not self._state.handler_ended:
            return
        if self._until is None:
            loop = asyncio.get_running_loop()
            self._until = loop.time() + PATIENCE
            loop.call_later(PATIENCE, self.wake.set)
        self.wake.set()

    async def run(self) -> None:
        """Forward until nothing waits, or the lease ends or is to be released."""
        about(partition=self._state.partition)
        self._until = None
        while not self._over():
            try:
                await self._forward()
            finally:
                await cancel_and_wait(self._appending)

    async def _forward(self) -> None:
        outbox = self.outbox
        while True:
            self.wake.clear()
            if trim := outbox.next_trim():
                await self._repeat(lambda: self._trim(trim))
            if self._over():
                return
            if outbox.wants_read:
                await self._repeat(self._read)
            for target in outbox.ready():
                target.busy = True
                self._append_to(target)
            if not outbox.wants_read and not outbox.next_trim():
                await self.wake.wait()

    def _over(self) -> bool:
        state, outbox = self._state, self.outbox
        if state.ended or state.refused is not None or outbox.empty:
            return True
        if self._until is None:
            if not (state.draining and state.handler_ended):
                return False  # The handler may still emit.
            self.leave()
        late = self._until is not None and asyncio.get_running_loop().time() >= self._until
        return late or (self._until is not None and outbox.stuck and not outbox.wants_read)

    async def _repeat(self, step: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Repeat a step until it is answered. A refusal ends the lease."""
        pause = PAUSE
        while not self._state.ended:
            try:
                await step()
            except ProtocolError as refusal:
                self._end(refusal)
                return
            except (RedisError, OSError) as error:
                outage_log.failed("forward", error)
                if self._state.draining and self._state.handler_ended:
                    self._until = 0.0  # Nothing is forwarded before the release.
                    return
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                outage_log.answered("forward")
                return

    async def _read(self) -> None:
        outbox, names = self.outbox, self._state.keys
        writes = outbox.begin_read()
        entries, (last, done) = await self._backend.read_outbox(names, outbox.after, outbox.page)
        outbox.take_in(entries, int(last or 0), int(done or 0), writes)

    async def _trim(self, trim: protocol.OutboxTrim) -> None:
        state = self._state
        await self._backend.call_batched(protocol.trim_outbox(state.keys, state.token, trim))
        self.outbox.trimmed()
        if trim.lost:
            logger.error(
                "processor %s, partition %d: %d emitted entries were LOST before they were "
                "forwarded: other programs have removed them from %s, or the server has lost them",
                self._processor,
                state.partition,
                trim.lost,
                state.keys.outbox,
            )

    # Targets

    def _append_to(self, target: Target) -> None:
        task = asyncio.create_task(self._append(target))
        self._appending.add(task)
        task.add_done_callback(self._appending.discard)

    async def _append(self, target: Target) -> None:
        """Append what waits for a target, in order, one append at a time."""
        pause = PAUSE
        try:
            while target.queue and not self._state.ended:
                try:
                    await self._append_batch(target)
                    pause = PAUSE
                except Full as error:
                    self.outbox.failed(target, error)
                    self._full.refused(self._state.partition, target.stream, target.prefix, error)
                except ProtocolError as error:
                    self._stop(target, error)
                    return
                except (RedisError, OSError) as error:
                    self.outbox.failed(target, error)
                    outage_log.failed(f"forward to {target.name}", error)
                self.wake.set()
                if target.problem is not None:
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, LONGEST_PAUSE)
        finally:
            target.busy = False
            self.wake.set()

    async def _append_batch(self, target: Target) -> None:
        outbox = self.outbox
        if ids := outbox.unread(target):
            entries = await self._backend.read_entries(self._state.keys, ids)
            found = [None if each is None else each[1] for each in entries]
            outbox.read_again(target, dict(zip(ids, found, strict=True)))
        if not (batch := outbox.batch(target)):
            return
        sink = batch[0].sink
        assert sink is not None
        numbered = [(each.id, each.entry) for each in batch if each.entry is not None]
        call = protocol.append_numbered(
            sink.prefix, sink.contract, sink.limits, sink.when_full, self._sender, numbered
        )
        try:
            reply = protocol.read_append_numbered(await self._backend.forward(call))
        except Full:
            if outbox.no_room(target, batch):
                return
            raise
        except Missing:
            for each in sink.declarations():
                await self._backend.call(each)
            return
        self._find_losses(batch, reply)
        outbox.forwarded(target, batch)
        outage_log.answered(f"forward to {target.name}")
        self._full.over(self._state.partition, target.stream, target.prefix)

    def _find_losses(self, batch: list[Waiting], reply: protocol.AppendedNumbered) -> None:
        """If the target knows entries of a later lease than this one, a failover has lost that
        lease, and the clock of the new server is behind: the target takes new entries for old."""
        if int(reply.last.partition("-")[0]) > self._state.token.epoch:
            for each in batch[: len(batch) - reply.added]:
                self.outbox.lost(each)

    def _stop(self, target: Target, error: ProtocolError) -> None:
        """The target will never take these entries: stop the processor."""
        if isinstance(error, Mismatch):
            error = Mismatch(error.args[0], {**error.details, "stream": target.stream})
        self._refuse(target.stream, error)

    def _refuse(self, stream: str, error: ProtocolError) -> None:
        self._state.refuse(
            ConfigError(
                f"what it has emitted to {stream} cannot be forwarded: {error}. It waits in "
                f"{self._state.keys.outbox}: entries that are deleted there count as lost"
            )
        )
        self._callbacks.on_change(self._state)

    def _end(self, refusal: ProtocolError) -> None:
        """The lease is lost, or its outbox cannot be read."""
        if refusal.word == "BADARG":
            self._refuse("another stream", refusal)
            return
        rebalance_log.lost(self._state.partition, refusal)
        self._state.end()
        self._callbacks.on_change(self._state)
