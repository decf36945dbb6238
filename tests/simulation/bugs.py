"""The bugs that are planted, one at a time: `scripts/simulate --planted` finds each.

This module imports nothing of Runnel, for it must come before.
"""

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
        "if newer(next_id, first and first[1] or last) then",
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
        "if not no_retry and attempts <= retries:",
        "if not no_retry and attempts < retries:",
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
    # Emits
    Planted(
        "an emit outside the commit",
        "lua/transact.lua",
        "if #KEYS < 4 or #ARGV < 10 then",
        "if ARGV[8] == 'stream' and ARGV[15] then\n"
        "  redis.call('XADD', KEYS[4], '*', unpack(ARGV, 16, 15 + ARGV[15]))\n"
        "end\n"
        "if #KEYS < 4 or #ARGV < 10 then",
    ),
    Planted(
        "a repeat that emits again",
        "lua/transact.lua",
        "elseif checkpoint ~= prev then",
        "elseif checkpoint ~= prev and checkpoint ~= next_id then",
    ),
    Planted(
        "an undo that forgets emits",
        "runnel/core/pending_effects.py",
        "self._open = []\n            if sealed:",
        "if sealed:",
    ),
    Planted(
        "emits of an event that is given up",
        "runnel/worker/runner.py",
        "self._state.undo()\n            if tables is not None:",
        "if tables is not None:\n                tables.undo()",
    ),
    Planted(
        "emits of a part lost that a middleware is done with",
        "runnel/core/pending_effects.py",
        "self._sealed += self._open",
        "pass",
    ),
    Planted(
        "emits of a part undone that a middleware is done with",
        "runnel/core/pending_effects.py",
        "if sealed:\n                self._sealed = []",
        "self._sealed = []",
    ),
    Planted(
        "emits of an event in two commits, if more follow",
        "runnel/core/pending_effects.py",
        "self._steps.popleft()",
        "(self._steps.popleft() if len(self._steps) == 1 else None)",
    ),
    Planted(
        "emits to one partition in another order",
        "runnel/core/pending_effects.py",
        "(sink, []))[1].append(entry)",
        "(sink, []))[1].insert(0, entry)",
    ),
    Planted(
        "emits that find no room are dropped",
        "runnel/worker/committer.py",
        "if state.draining and state.handler_ended:",
        "if True:",
    ),
    Planted(
        "what a commit emits passes a checkpoint in the target",
        "lua/transact.lua",
        "elseif newer(bound, checkpoint) then",
        "elseif false then",
    ),
    Planted(
        "a commit makes no room in the log that it reads",
        "lua/transact.lua",
        "local passed, size = own and {[processor] = next_id} or {}, own",
        "local passed, size = {}, own",
    ),
    Planted(
        "a handler that has ended emits",
        "runnel/stream.py",
        "if here.over is not None and here.over():",
        "if False:",
    ),
    # Outboxes
    Planted(
        "an outbox trimmed before the append",
        "runnel/core/outbox.py",
        "while self._waiting and self._waiting[0].forwarded:",
        "while self._waiting:",
    ),
    Planted(
        "a target that knows batches, and not entries",
        "lua/append_numbered.lua",
        "not newer(ARGV[starts[skipped + 1]], last)",
        "not newer(previous, last)",
    ),
    Planted(
        "an outbox that each lease numbers anew",
        "lua/claim.lua",
        "'previous_owner', previous_owner, 'moved_at'",
        "'outbox_last', '0', 'previous_owner', previous_owner, 'moved_at'",
    ),
    Planted(
        "a target that knows leases, and not processors",
        "runnel/worker/forwarder.py",
        "self._sender = protocol.outbox_sender(state.keys)",
        "self._sender = f'{protocol.outbox_sender(state.keys)}:{state.token.epoch}'",
    ),
    Planted(
        "an append without a reply taken for one that was done",
        "runnel/worker/forwarder.py",
        "except (RedisError, OSError) as error:\n"
        "                    self.outbox.failed(target, error)",
        "except (RedisError, OSError) as error:\n"
        "                    self.outbox.forwarded(target, self.outbox.batch(target))",
    ),
    Planted(
        "emits to an outbox in another order",
        "runnel/core/pending_effects.py",
        "outbox.append([b",
        "outbox.insert(0, [b",
    ),
    Planted(
        "forwarding that reorders what waits while a target is full",
        "runnel/core/outbox.py",
        "target.problem = problem",
        "target.problem = problem\n        target.queue.rotate(1)",
    ),
    Planted(
        "an outbox that the next owner leaves alone",
        "runnel/worker/forwarder.py",
        "if state.outbox_waits:",
        "if False:",
    ),
    Planted(
        "a forwarder that does not rest while the handler is at work",
        "runnel/worker/forwarder.py",
        "if not (state.draining and state.handler_ended):",
        "if state.draining and not state.handler_ended:\n"
        "                self.wake.set()\n"
        "            if not (state.draining and state.handler_ended):",
    ),
    Planted(
        "a release that does not rest while its outbox is forwarded",
        "runnel/worker/partition_io.py",
        "if state.forwarding and state.all_committed and state.unverified_from is None:",
        "if False:",
    ),
    Planted(
        "an outbox trimmed without its fence",
        "lua/trim_outbox.lua",
        "if stored_epoch ~= epoch or stored_nonce ~= nonce or released == '1' then",
        "if false then",
    ),
    Planted(
        "an outbox without a limit",
        "lua/transact.lua",
        "or '0')\n  if redis.call('XLEN', effect.key) + effect.count > effect.size then",
        "or '0')\n  if false then",
    ),
    Planted(
        "a processor removed with its outbox",
        "lua/remove.lua",
        "if waiting > 0 then",
        "if false then",
    ),
    # What leaves user code, and what was given to it
    Planted(
        "a cancellation that nobody asked for taken for the end",
        "runnel/worker/handler_run.py",
        "if self._stopping:\n            return None",
        "if self._stopping or type(raised).__name__ == 'CancelledError':\n            return None",
    ),
    Planted(
        "what middleware took and did not pass on counts as given",
        "runnel/delivery/middleware_chain.py",
        "self._state.rewind(keep=self._given)\n                self._taken.clear()",
        "self._taken.clear()",
    ),
    Planted(
        "a middleware that swallows has its failure passed over",
        "runnel/delivery/middleware_chain.py",
        "if self._given:\n            self._state",
        "if self._given:\n            self._state.finish(self._given)\n            self._state",
    ),
    Planted(
        "the next event while the one before is not committed",
        "runnel/delivery/partition_queue.py",
        "if self._commit_each or commit_first:",
        "if commit_first:",
    ),
    Planted(
        "a commit that is not waited for",
        "runnel/delivery/partition_queue.py",
        "            await self.flush()\n        self.release_start_lock()\n\n    def release",
        "        self.release_start_lock()\n\n    def release",
    ),
    Planted(
        "a list begins anew with each wait for it",
        "runnel/delivery/partition_queue.py",
        "if state.open and self._filling[0] != state.buffer[0][0]:",
        "if state.open:",
    ),
    Planted(
        "a start recorded anew with each wait for that",
        "runnel/delivery/partition_queue.py",
        "if self._starting is None or self._starting[0] != event:",
        "if self._starting is None or self._starting[1].done():",
    ),
    Planted(
        "a cancelled wait gives its turn away",
        "runnel/delivery/partition_queue.py",
        "if tried or not self._suspicion.alone:",
        "if True:",
    ),
    Planted(
        "who asks once its events have ended has not finished the last",
        "runnel/delivery/handout.py",
        "if self.closed:\n            await",
        "if self.closed or not self.queue.state.open:\n            await",
    ),
    Planted(
        "one death is proof enough",
        "runnel/core/suspicion.py",
        "self.deaths > 1 and",
        "self.deaths > 0 and",
    ),
    # Time limits, and what waits in memory
    Planted(
        "a time limit that ends nobody",
        "runnel/worker/handler_run.py",
        "if not handout.late and not handout.ignores_end:",
        "if not handout.ignores_end:",
    ),
    Planted(
        "a handler that goes on after its time limit has finished its event",
        "runnel/delivery/handout.py",
        "if self.closed:\n            await",
        "if False:\n            await",
    ),
    Planted(
        "a time limit that waiting counts for, too",
        "runnel/delivery/stopwatch.py",
        "since, self._since = self._since, None",
        "since = self._since",
    ),
    Planted(
        "what waits in memory has no bound in bytes",
        "runnel/worker/log_reader.py",
        "state.buffer_limit = prefetch if size * prefetch <= share else int(share / size)",
        "state.buffer_limit = prefetch",
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
    # A loop that is blocked
    Planted(
        "a heartbeat from the side vouches for what others hold",
        "runnel/worker/heartbeat.py",
        "if confirmed:",
        "if True:",
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
    Planted(
        "a loss counted while what was read ahead is processed",
        "runnel/worker/claims.py",
        "await queue.wait_settled()",
        "pass",
    ),
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
        "return self.clock() < self.ends",
        "return True",
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
    # Several events at the same time
    Planted(
        "a checkpoint past an event that has failed",
        "runnel/core/window.py",
        "events[0].stage in (Stage.DONE, Stage.ASIDE)",
        "events[0].stage in (Stage.DONE, Stage.ASIDE, Stage.FAILED)",
    ),
    Planted(
        "effects of events beyond the checkpoint",
        "runnel/core/own_effects.py",
        "state.adopt(own.writes, size, own.emitted)",
        "assert state.tables\n"
        "            now = {each: state.tables.get(each) for each in own.writes}\n"
        "            state.adopt(now, size, own.emitted)",
    ),
    Planted(
        "the next event of a key while one waits for its retry",
        "runnel/core/window.py",
        "item.stage = Stage.FAILED\n",
        "item.stage = Stage.FAILED\n"
        "        for other in list(self._chains[item.key])[1:2]:\n"
        "            self._may_start(other)\n",
    ),
    Planted(
        "two events of a key at once",
        "runnel/worker/concurrent_runner.py",
        "self._window.add(raw, self._state.parking.key_of(raw))",
        "self._window.add(raw, raw[0])",
    ),
    Planted(
        "effects of a try that has failed",
        "runnel/worker/concurrent_runner.py",
        "effects = item.effects = OwnEffects(state, key=item.key)",
        "before = item.effects.writes if item.effects else {}\n"
        "            effects = item.effects = OwnEffects(state, before, key=item.key)",
    ),
    Planted(
        "started though the session may have ended",
        "runnel/worker/concurrent_runner.py",
        "while window.may_start and self._queue.in_session:",
        "while window.may_start:",
    ),
    Planted(
        "no bound for what is in hand",
        "runnel/core/window.py",
        "limit = self.limit\n",
        "limit = 10**9\n",
    ),
    Planted(
        "released while events run",
        "runnel/worker/concurrent_runner.py",
        "if not (self._runs or self._failing):\n                return",
        "if not self._failing:\n                return",
    ),
    Planted(
        "what lies between is started after the session has ended",
        "runnel/worker/concurrent_runner.py",
        "lost = state.ended or queue.lapses != self._lapses",
        "lost = state.ended",
    ),
    Planted(
        "an event that is given up skipped before those before it are done",
        "runnel/worker/concurrent_runner.py",
        "first = window.first\n",
        "first = next((each for each in window._events if each.failure), None)\n",
    ),
    Planted(
        "what is done is never shown to the next event of its key",
        "runnel/worker/concurrent_runner.py",
        "item.effects.show()\n",
        "pass\n",
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
)
BY_NAME = {bug.name: bug for bug in BUGS}
