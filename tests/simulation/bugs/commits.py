"""Bugs of commits, and of the tables that they write."""

from __future__ import annotations

from tests.simulation.planted import Planted

BUGS = (
    # Commits
    Planted(
        "no compare-and-set",
        "lua/commit.lua",
        "elseif checkpoint ~= prev then",
        "elseif false then",
    ),
    Planted(
        "write before check",
        "lua/commit.lua",
        "local paused = is_paused == '1' and 1 or 0",
        "local paused = is_paused == '1' and 1 or 0\n"
        "redis.call('HSET', meta, 'checkpoint:' .. processor, next_id)",
    ),
    Planted(
        "a repeat after release refused",
        "lua/commit.lua",
        "if release == '1' and checkpoint == next_id then return {0, paused} end",
        "",
    ),
    Planted(
        "a repeat refused",
        "lua/commit.lua",
        "if release == '0' and checkpoint == next_id then return {0, paused} end",
        "",
    ),
    Planted(
        "a checkpoint on an event that is not there",
        "lua/commit.lua",
        "if newer(next_id, first and first[1] or info['last-generated-id']) "
        "or removed < read + count then",
        "if false then",
    ),
    Planted(
        "retention is not told of a dead letter",
        "lua/transact.lua",
        "redis.call('HSET', meta, 'checkpoint:' .. processor, next_id)\n",
        "",
    ),
    Planted(
        "a lost reply taken for an answer",
        "runnel/worker/committer.py",
        "                self._callbacks.on_wrong_key(state)\n            return False\n",
        "                pass\n            state.committed(move)\n",
    ),
    Planted(
        "another commit in place of one in flight",
        "runnel/core/partition.py",
        "if self._in_flight is None:\n            release",
        "if True:\n            release",
    ),
    Planted(
        "released with an event in hand",
        "runnel/core/partition.py",
        "release = self.draining and self.handler_ended",
        "release = self.draining",
    ),
    Planted(
        "a failed event is not handed out again",
        "runnel/core/partition.py",
        "self.buffer.extendleft(reversed(back))",
        "pass",
    ),
    Planted(
        "given up one failure too early",
        "runnel/worker/giving_up.py",
        "again = not no_retry and attempts <= retries",
        "again = not no_retry and attempts < retries",
    ),
    # Tables
    Planted(
        "tables are not fenced",
        "lua/transact.lua",
        "if stored_epoch ~= epoch or stored_nonce ~= nonce then",
        "if false then",
    ),
    Planted(
        "a table written outside the commit",
        "lua/transact.lua",
        "if #KEYS < 4 or #ARGV < 10 then",
        "local sets = ARGV[8] == 'table' and tonumber(ARGV[9]) or 0\n"
        "if sets > 0 then redis.call('HSET', KEYS[4], unpack(ARGV, 11, 10 + 2 * sets)) end\n"
        "if #KEYS < 4 or #ARGV < 10 then",
    ),
    Planted(
        "what is known of tables kept across leases",
        "runnel/core/table_state.py",
        "self._known: dict[Field, bytes | None] = {}",
        "self._known = TableState.undo.__dict__.setdefault(prefix, {})",
    ),
    Planted(
        "an undo that forgets what was known before",
        "runnel/core/table_state.py",
        "self._known.update(self._before)",
        "pass",
    ),
    Planted(
        "an undo that keeps the writes",
        "runnel/core/table_state.py",
        "self._known.update(self._before)\n        self._before, self._lent = {}, {}",
        "self._lent = {}",
    ),
    Planted(
        "writes of an unfinished event in a commit",
        "runnel/core/pending_effects.py",
        "for (table, key), value in step.writes.items():",
        "known, before = self.tables._known, self.tables._before\n"
        "        step.writes.update({each: known[each] for each in before})\n"
        "        for (table, key), value in step.writes.items():",
    ),
    Planted(
        "writes lost that were made while a commit was in flight",
        "runnel/core/pending_effects.py",
        "self._steps.popleft()",
        "self._steps.clear()",
    ),
    Planted(
        "a step lost when a commit is split",
        "runnel/core/pending_effects.py",
        "return None if len(self._steps) == 1 else (first.end, self._number - first.number)",
        "return None",
    ),
    Planted(
        "what Redis had before in place of a newer write",
        "runnel/core/table_state.py",
        "self._known.setdefault(field, value)",
        "self._known[field] = value",
    ),
    Planted(
        "what is known of tables kept across a rollback",
        "runnel/core/partition.py",
        "self.effects.forget_all()",
        "pass",
    ),
    Planted(
        "a cancelled wait undoes writes",
        "runnel/core/partition.py",
        "if not keep:\n            self.undo()",
        "self.undo()",
    ),
    Planted(
        "writes of an event that is given up",
        "runnel/worker/runner.py",
        "self._state.undo()\n            if tables is not None:",
        "if tables is not None:",
    ),
    Planted(
        "a handler that has ended writes",
        "runnel/table.py",
        "if here.over is not None and here.over():",
        "if False:",
    ),
)
