"""Releases leases that a worker does not use any more, so that their tenures are not unclean."""

from __future__ import annotations

from redis.exceptions import RedisError

from runnel import protocol
from runnel.core.partition import PartitionState
from runnel.errors import Full, ProtocolError
from runnel.log import logger_of
from runnel.protocol import CheckpointMove, PartitionKeys, Token
from runnel.protocol.scripts import Call
from runnel.worker.backend import Backend

logger = logger_of("runnel.worker")


async def release_unwanted(
    backend: Backend, partition_keys: PartitionKeys, token: Token, checkpoint: str
) -> None:
    """Release a lease if its grant was not the current one any more when the reply arrived."""
    move = CheckpointMove(checkpoint, checkpoint, 0, release=True)
    await _release(backend, protocol.commit(partition_keys, token, move), partition_keys.prefix)


async def release_cut_off(backend: Backend, state: PartitionState) -> None:
    """Release a partition that the shutdown has cut off, if user code has ended."""
    if not (state.draining and state.handler_ended) or state.left_running or state.skip_in_flight:
        return
    state.forwarding = False  # There is no time for it: the next owner forwards the rest.
    while move := state.next_commit():
        error = await _release(backend, state.commit_call(move), state.keys.prefix)
        if isinstance(error, Full):
            state.drop_finished()  # There is no time to wait for room: only the release is left.
        elif error is not None:
            return
        else:
            state.committed(move)


async def _release(backend: Backend, call: Call, prefix: str) -> Exception | None:
    """Make a commit that releases. Returns why it failed."""
    try:
        await backend.call(call)
    except (RedisError, OSError, ProtocolError) as error:
        logger.debug("could not release %s: %s", prefix, error)
        return error
    return None
