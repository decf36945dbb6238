"""Bugs of leases: the fence, the group, those who hold partitions, and operators."""

from __future__ import annotations

from tests.simulation.planted import Planted

BUGS = (
    # The fence and the token
    Planted(
        "no fence",
        "lua/commit.lua",
        "if stored_epoch ~= epoch or stored_nonce ~= nonce then",
        "if false then",
    ),
    Planted(
        "no nonce in the fence",
        "lua/commit.lua",
        "if stored_epoch ~= epoch or stored_nonce ~= nonce then",
        "if stored_epoch ~= epoch then",
    ),
    Planted(
        "an epoch that need not rise",
        "lua/claim.lua",
        "math.max((tonumber(epoch) or 0) + 1, now)",
        "math.max(tonumber(epoch) or 0, now)",
    ),
    Planted(
        "attempts are not fenced",
        "lua/attempt.lua",
        "if stored_epoch ~= epoch or stored_nonce ~= nonce or released == '1' then",
        "if false then",
    ),
    Planted(
        "equal grants accepted",
        "lua/claim.lua",
        "if tonumber(grant) <= seen and not repeated then",
        "if tonumber(grant) < seen and not repeated then",
    ),
    Planted(
        "a repeated claim is told by its grant alone",
        "lua/claim.lua",
        "local repeated = seen == tonumber(grant) and stored_nonce == nonce and released ~= '1'",
        "local repeated = seen == tonumber(grant) and released ~= '1'",
    ),
    Planted(
        "a release keeps the token",
        "lua/commit.lua",
        "redis.call('HSET', state, 'released', '1')",
        "local _ = '1'",
    ),
    Planted(
        "one nonce for each process",
        "runnel/worker/held_partitions.py",
        "nonce = secrets.token_hex(16)",
        "nonce = self._membership.member[1] * 2",
    ),
    # The group
    Planted(
        "a stale sync obeyed",
        "lua/sync.lua",
        "if call <= tonumber(last_call) then",
        "if false then",
    ),
    Planted(
        "grant without release",
        "lua/sync.lua",
        "if owner[p] == '-' or now >= asked_at[p] + rebalance_timeout then",
        "if true then",
    ),
    Planted(
        "unfenced renewal",
        "lua/sync.lua",
        "if incarnation == previous or call > 1 then return",
        "if false then return",
    ),
    Planted(
        "off by one in the balance",
        "lua/sync.lua",
        "quota[each] = base + (i <= extra and 1 or 0)",
        "quota[each] = base + (i <= extra + 1 and 1 or 0)",
    ),
    Planted(
        "sessions that never end",
        "lua/sync.lua",
        "sessions, '-inf', string.format('%.0f', now), 'LIMIT'",
        "sessions, '-inf', '0', 'LIMIT'",
    ),
    Planted(
        "a clock that went back stretches sessions",
        "lua/sync.lua",
        "redis.call('ZADD', sessions, now + longest, late)",
        "local _ = late",
    ),
    Planted(
        "who leaves stays a member",
        "lua/sync.lua",
        "redis.call('ZREM', sessions, member)",
        "local _ = member",
    ),
    Planted(
        "a partition asked back is not given back",
        "runnel/core/membership.py",
        "changes.drain.append(partition)",
        "pass",
    ),
    Planted(
        "handed out when the session may have ended",
        "runnel/delivery/session.py",
        "if self.clock() < self.ends:",
        "if True:",
    ),
    Planted(
        "a session counted from its answer",
        "runnel/worker/heartbeat.py",
        "self._membership.session.renew(sent.sent + reply.session_ms / 1000)",
        "self._membership.session.renew(self._backend.clock() + reply.session_ms / 1000)",
    ),
    Planted(
        "a heartbeat too few",
        "runnel/worker/heartbeat.py",
        "wait = reply.session_ms / 3000",
        "wait = reply.session_ms / 900",
    ),
    Planted(
        "a clock that went back stretches a wait",
        "lua/sync.lua",
        "if due > now + math.max(rebalance_timeout, rebalance_delay) then due = now end",
        "",
    ),
    Planted(
        "who lost its session alone counts as known",
        "lua/sync.lua",
        " and redis.call('ZSCORE', sessions, member)",
        "",
    ),
    Planted(
        "a hand-over cut short by an operator",
        "lua/revoke.lua",
        "if owner and owner ~= '-' and owner == target then",
        "if owner and owner ~= '-' then",
    ),
    Planted(
        "a heartbeat that overtakes the leave",
        "runnel/worker/member.py",
        "await cancel_and_wait(tasks)\n                self._partitions.log_pending()",
        "self._partitions.log_pending()",
    ),
    # The worker
    Planted(
        "reads cut short for ever",
        "runnel/worker/log_reader.py",
        "while self._waiting and self._changed.is_set():",
        "while self._waiting:",
    ),
    Planted(
        "a start recorded in every partition",
        "runnel/delivery/recorded_start_lock.py",
        "return next(iter(self._queue)) is partition",
        "return True",
    ),
    Planted(
        "a doubt that nobody settles",
        "runnel/worker/claims.py",
        "if state.ended or not (state.open or state.held_stopped or state.unverified_from):",
        "if not state.open:",
    ),
    Planted(
        "partitions at rest are never claimed again",
        "runnel/worker/claims.py",
        "if moved or i == self._turn % len(settled):",
        "if moved:",
    ),
    # A loop that is blocked
    Planted(
        "a heartbeat from the side vouches for what others hold",
        "runnel/worker/heartbeat.py",
        "if confirmed:",
        "if True:",
    ),
    # Operators
    Planted(
        "a paused partition is processed",
        "runnel/core/partition.py",
        "if claimed.quarantined or claimed.paused:",
        "if claimed.quarantined:",
    ),
    Planted(
        "a seek keeps the token",
        "lua/seek.lua",
        "math.max((tonumber(stored_epoch) or 0) + 1, now)",
        "math.max(tonumber(stored_epoch) or 0, 0)",
    ),
    Planted(
        "a removed processor holds retention back",
        "lua/remove.lua",
        "redis.call('HDEL', meta, 'checkpoint:' .. processor, 'dropped:' .. processor)",
        "redis.call('HDEL', meta, 'dropped:' .. processor)",
    ),
    Planted(
        "what a resume has changed is not claimed anew",
        "runnel/operations/admin.py",
        "await revoke(scripts, processor, changed)\n    return len(changed)",
        "return len(changed)",
    ),
)
