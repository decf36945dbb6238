"""Bugs of what commits emit, at once or by outboxes."""

from __future__ import annotations

from tests.simulation.planted import Planted

BUGS = (
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
        "if isinstance(reply, Full | BadArgument) and state.draining and state.handler_ended:",
        "if isinstance(reply, Full | BadArgument):",
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
)
