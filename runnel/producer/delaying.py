"""Sends events that enter the log later, and cancels them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import Any, Protocol

from redis.exceptions import ConnectionError, TimeoutError

from runnel import protocol
from runnel.delayed import Delayed, Due
from runnel.errors import ConfigError
from runnel.producer.error_copies import copy_of, with_sent
from runnel.producer.partition_appender import Entries, MakeCall
from runnel.producer.partition_producer import Later, Once, PartitionProducer
from runnel.producer.shares import Share, once_of, shares_of, wait_until
from runnel.stream import StreamSpec

#: Seconds between two repeats of a call without an answer.
_PAUSE = 0.2


class Delaying(Protocol):
    """What this needs of a producer."""

    delivery_timeout: float

    @property
    def call(self) -> MakeCall:
        """Makes a call at once."""
        ...

    @property
    def call_with_others(self) -> MakeCall:
        """Makes a call in a round trip with others."""
        ...

    def partition_producer(self, stream: StreamSpec[Any], partition: int) -> PartitionProducer:
        """Where the producer sends to a partition."""
        ...


async def send_later(
    producer: Delaying,
    stream: StreamSpec[Any],
    records: Sequence[Any],
    due: Due,
    *,
    dedupe: object = None,
    window: float = 0.0,
    headers: dict[str, str] | None = None,
    max_bytes: int,
    wait: bool | float = False,
    drop_oldest: bool = False,
) -> list[Delayed]:
    """Send records that are due later. Returns their receipts in the same order.

    The options and errors are those of `Producer.send` and `send_once`; a `window` is in seconds.
    """
    sent: list[Delayed | None] = [None] * len(records)
    if drop_oldest is not False:
        raise ConfigError(
            "send(drop_oldest=…) does not go with at=… or delay=…: when the event is due, it waits "
            "for room"
        )
    # The repeat of a call that got no answer must find its request.
    remembered = max(2 * producer.delivery_timeout, 1.0)
    once = None
    if dedupe is not None:
        once = once_of(dedupe, len(records), max(window, remembered))
    try:
        until = wait_until(wait)
        shares = shares_of(stream, records, headers, max_bytes)

        async def send_share(share: Share) -> None:
            to, positions = producer.partition_producer(stream, share.partition), share.positions
            make_call = producer.call if len(shares) == 1 else producer.call_with_others
            at = 0
            for entries in share.batches:
                later = _request(due, once, remembered)
                for receipt in await _send(to, share.partition, later, entries, until, make_call):
                    sent[positions[at]] = receipt
                    at += 1

        outcomes = await asyncio.gather(*map(send_share, shares), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise copy_of(outcome) if isinstance(outcome, Exception) else outcome
    except BaseException as error:
        with_sent(error, sent)
        raise
    return [each for each in sent if each is not None]


def _request(due: Due, once: Once | None, remembered: float) -> Later:
    """A request under the key of the caller, or under a random one."""
    return Later(due, *(once or (secrets.token_hex(16), int(remembered * 1000))))


async def _send(
    to: PartitionProducer,
    partition: int,
    later: Later,
    entries: Entries,
    until: float,
    make_call: MakeCall,
) -> list[Delayed]:
    reply = await to.append_later(later, entries, until, make_call)
    return [Delayed.of(partition, reply.due, order) for order in reply.orders]


async def cancel(producer: Delaying, stream: StreamSpec[Any], delayed: Delayed) -> bool:
    """Remove a delayed event. Returns whether it waited until now.

    Raises redis-py's error if a reply was lost and the repeat finds no event: nobody knows whether
    this call has removed it.
    """
    if not isinstance(delayed, Delayed):
        raise ConfigError(f"cancel takes what send(at=… | delay=…) returned, not {delayed!r}")
    if not 0 <= delayed.partition < stream.partition_count:
        raise ConfigError(
            f"stream {stream.name} has the partitions 0 to {stream.partition_count - 1}, and not "
            f"{delayed.partition}"
        )
    call = protocol.cancel(stream.prefix(delayed.partition), *delayed.parts())
    loop = asyncio.get_running_loop()
    until, lost = loop.time() + producer.delivery_timeout, None
    while True:
        try:
            removed = bool(await producer.call(call))
        except (ConnectionError, TimeoutError) as error:
            if loop.time() >= until:
                raise
            lost = error
            await asyncio.sleep(_PAUSE)
            continue
        if lost is not None and not removed:
            raise lost
        return removed
