"""Bugs around user code: what it is given, what leaves it, and for how long it runs."""

from __future__ import annotations

from tests.simulation.planted import Planted

BUGS = (
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
        "            await self.flush()\n        self.release_start_lock()\n\n    def look_for",
        "        self.release_start_lock()\n\n    def look_for",
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
)
