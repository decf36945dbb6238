"""Bugs of logs: sending, delayed events, retention, and losses."""

from __future__ import annotations

from tests.simulation.planted import Planted

BUGS = (
    # Retention and sending
    Planted(
        "retention before registration",
        "lua/append.lua",
        "if registered == 0 and when_full ~= 'drop_oldest' and "
        "(when_full ~= 'drop_unread' or next(groups)) then",
        "if false then",
    ),
    Planted(
        "an append removes old events that a slow processor has not committed",
        "lua/append.lua",
        "if bound and (bound == '+' or newer(bound, young)) then bound = young end",
        "bound = young",
    ),
    Planted(
        "a worker removes old events that a slow processor has not committed",
        "lua/trim.lua",
        "if bound and (bound == '+' or newer(bound, young)) then bound = young end",
        "bound = young",
    ),
    Planted(
        "retention by age asks one processor only",
        "lua/trim.lua",
        "if name and (not lowest or newer(lowest, fields[i + 1])) then",
        "if name then",
    ),
    Planted(
        "retention by age does not need the consumer groups",
        "lua/trim.lua",
        "if name and not groups[name] then return nil, name end",
        "",
    ),
    Planted(
        "retention passes a checkpoint",
        "lua/append.lua",
        "elseif newer(bound, checkpoint) then",
        "elseif false then",
    ),
    Planted(
        "a stream that is kept until it is full drops what is not committed",
        "lua/append.lua",
        "elseif newer(bound, checkpoint) then",
        "elseif when_full == 'refuse' and newer(bound, checkpoint) then",
    ),
    Planted(
        "an append applied twice",
        "lua/append.lua",
        "if last == sequence then",
        "if false then",
    ),
    Planted(
        "a sequence that does not rise",
        "runnel/producer/partition_producer.py",
        "self._sequence += append.once is None",
        "self._sequence += 0",
    ),
    Planted(
        "a processor registered anew starts anew",
        "lua/register.lua",
        "read, created = stored_checkpoint or meta_checkpoint or group_id, stored_read, 2",
        "read, created = nil, nil, 2",
    ),
    Planted(
        "what was dropped stays lag",
        "lua/append.lua",
        "if loss.read then redis",
        "if false then redis",
    ),
    Planted(
        "a commit of what was dropped meanwhile brings its lag back",
        "lua/commit.lua",
        "if group.name == processor and group['entries-read'] and newer",
        "if false and newer",
    ),
    Planted(
        "a loss that is found brings its lag back",
        "lua/claim.lua",
        " and (lost < 0 or accepted) then",
        " then",
    ),
    Planted(
        "a log that vanished begins below its old ids",
        "lua/register.lua",
        "if not log_exists and checkpoint ~= '0-0' then",
        "if false then",
    ),
    # Delayed events
    Planted(
        "delayed events enter the log a moment too early",
        "lua/promote.lua",
        "if tonumber(page[i + 1]) > now then",
        "if tonumber(page[i + 1]) > now + 20 then",
    ),
    Planted(
        "the last event that is promoted stays delayed",
        "lua/promote.lua",
        "redis.call('ZREMRANGEBYRANK', delayed, 0, number - 1)",
        "redis.call('ZREMRANGEBYRANK', delayed, 0, number - 2)",
    ),
    Planted(
        "a send overtakes what is due",
        "lua/append.lua",
        "return redis.error_reply('OVERDUE due=' .. delayed_due)",
        "delayed_due = nil",
    ),
    Planted(
        "the repeat of a request to delay is a new one",
        "lua/append_later.lua",
        "elseif marked == mark then",
        "elseif false then",
    ),
    Planted(
        "events that are due together have one order number",
        "lua/append_later.lua",
        "string.format('%016.0f ', number)",
        "string.format('%016.0f ', first)",
    ),
    Planted(
        "the next due time is not earlier after a later send",
        "lua/append_later.lua",
        "local is_next = not next_due or due < (tonumber(next_due) or 0)",
        "local is_next = true",
    ),
    Planted(
        "all requests to delay have one key",
        "runnel/producer/delaying.py",
        "secrets.token_hex(16)",
        "'k'",
    ),
    Planted(
        "a worker does not wake up for a delayed event",
        "runnel/worker/promoter.py",
        "return min(reply.next_in / 1000 + MARGIN, LOOK_EVERY) if reply.next_in else 0.0",
        "return LOOK_EVERY",
    ),
    Planted(
        "a worker is not told of an event that is due sooner",
        "runnel/worker/promoter.py",
        "self._hinted = True",
        "self._hinted = False",
    ),
    # Losses
    Planted(
        "a loss masked",
        "lua/claim.lua",
        "if new_read > read then lost = new_read - read end",
        "",
    ),
    Planted(
        "deleted events are never counted",
        "lua/claim.lua",
        "elseif read ~= added and not",
        "elseif false and not",
    ),
    Planted(
        "a cursor kept after a rollback",
        "runnel/core/reading.py",
        "if not cursor_exists:",
        "if False:",
    ),
    Planted(
        "what was read without a look is not doubted",
        "runnel/core/reading.py",
        "self.unverified_from = request.cursor",
        "pass",
    ),
    # A primary that was replaced
    Planted(
        "writes for an event that only a former primary had go with the next commit",
        "runnel/core/partition.py",
        "if gone and self.effects is not None:",
        "if False:",
    ),
    Planted(
        "emits for an event that only a former primary had go with the next commit",
        "runnel/core/partition.py",
        "if self._lost_ahead:\n            self.end()",
        "if False:\n            self.end()",
    ),
    Planted(
        "an event that only a former primary had taken for one that was trimmed",
        "lua/transact.lua",
        " or removed < read + count then",
        " then",
    ),
    Planted(
        "a loss counted while what was read ahead is processed",
        "runnel/worker/claims.py",
        "await queue.wait_settled()",
        "pass",
    ),
)
