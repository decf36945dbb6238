"""Executes commands on the server, and compares its replies and keys with the models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from redis.exceptions import NoScriptError, OutOfMemoryError, ResponseError

from runnel import keys
from runnel.protocol.scripts import Call, sources
from tests.simulation import counting, delays
from tests.simulation.additions import sinks_of
from tests.simulation.assignments import Assignments, read_group
from tests.simulation.history import History
from tests.simulation.loop import Process, SimLoop
from tests.simulation.outboxes import OutboxModel, check_forwarded
from tests.simulation.store import EPOCH_MS, Command, Store
from tests.simulation.stored import Fields, Log, Refused, split
from tests.simulation.trace import Trace, Violation

#: Scripts of partition scope, and of group scope.
PARTITION = {
    *("declare", "register", "claim", "commit", "transact", "append", "attempt"),
    *("append_numbered", "trim", "trim_outbox", "pause", "resume", "seek", "remove"),
    *("append_later", "promote", "cancel"),
}
GROUP = {"sync", "revoke"}
#: How many events one `promote` moves at most.
MOST_PROMOTED = 200
#: How many commands `_partition_probes` returns, and which of them is XINFO STREAM.
_PROBES = 9
_INFO = 5
#: How often the start of an event may be recorded under one token: a few times for each attempt, if
#: replies are lost, or if its handler stops waiting while middleware has it (about 20 in all). A
#: worker that starts it in an endless loop soon exceeds that.
MOST_STARTS = 200
#: Fields of a state that only people read.
FOR_PEOPLE = ("history", "error_traceback")


class Judge:
    """Sits between the virtual network and the server."""

    def __init__(self, loop: SimLoop, store: Store, trace: Trace, history: History) -> None:
        self.loop = loop
        self.store = store
        self.trace = trace
        self.history = history
        self.model = OutboxModel()
        self.groups: dict[str, Assignments] = {}
        #: The difference of the server's clock to virtual time, in ms.
        self.skew_ms = 0
        #: The server's memory is full.
        self.full = False
        #: Channels to which a message was published.
        self.published: list[str] = []
        #: State, token, event -> how often its start was recorded.
        self.starts: Counter[tuple[Any, ...]] = Counter()
        #: Number of reads so far.
        self.reads = 0
        #: Logs to which entries were added.
        self.grown: list[str] = []
        self._refused_when_full = {
            name for name, text in sources().items() if b"allow-oom" not in text.split(b"\n")[0]
        } - {"describe", "describe_group"}

    @property
    def now_ms(self) -> int:
        """The server's clock, ms since 1970."""
        return EPOCH_MS + round(self.loop.time() * 1000) + self.skew_ms

    def execute(self, process: Process, commands: Sequence[Command]) -> list[Any]:
        """The replies to commands that arrive now from this process."""
        batch: list[Command] = []
        offsets: list[int] = []
        for command in commands:
            offsets.append(len(batch))
            batch.append(_without_block(command))
            batch += self._probes(command)
        found = self.store.at(self.now_ms, batch)
        offsets.append(len(batch))
        replies = []
        for i, command in enumerate(commands):
            reply, *probed = found[offsets[i] : offsets[i + 1]]
            self._judge(process, command, reply, probed)
            replies.append(reply)
        return replies

    def read_former(self, process: Process, commands: Sequence[Command]) -> list[Any]:
        """The replies to reads that reach a primary that was replaced."""
        replies = self.store.run_on_former(list(map(_without_block, commands)))
        for command, reply in zip(commands, replies, strict=True):
            if command[0] == "XREAD":
                self._read(process, reply)
        return replies

    def _read(self, process: Process, reply: Any) -> None:
        self.reads += 1
        came = [(each[0].decode(), len(each[1])) for each in reply or ()]
        self.trace.say(process, f"read {came}")

    def check_now(self, prefix: str) -> None:
        """Compare a partition with the model."""
        processors = sorted(self.model.at(prefix).states)
        for processor in processors or [""]:
            probes = _partition_probes(prefix, processor, "")
            self._compare(prefix, processor, "", self.store.at(self.now_ms, probes))

    # Probes: commands that read keys right after a command

    def _probes(self, command: Command) -> list[Command]:
        call = self.call_of(command)
        if call is None:
            return []
        if call.script in GROUP:
            return self._group(call).probes()
        if call.script not in PARTITION:
            return []
        prefix, processor, producer = _touched(call)
        probes = _partition_probes(prefix, processor, producer)
        if call.script == "promote":
            probes.append(("XREVRANGE", call.keys[0], "+", "-", "COUNT", MOST_PROMOTED))
        for sink, entries in _logs_of(call):
            probes += _partition_probes(sink, "", "")
            probes.append(("XREVRANGE", keys.log(sink), "+", "-", "COUNT", len(entries)))
        return probes

    def call_of(self, command: Command) -> Call | None:
        """The call of a script, if it is one."""
        name = self.store.script(command)
        if name is None:
            return None
        count = command[2]
        return Call(name, tuple(command[3 : 3 + count]), tuple(command[3 + count :]))

    def _group(self, call: Call) -> Assignments:
        name = call.keys[0].removesuffix(":plan")
        return self.groups.setdefault(name, Assignments(name))

    # Checks

    def _judge(self, process: Process, command: Command, reply: Any, probed: list[Any]) -> None:
        call = self.call_of(command)
        if call is None:
            if command[0] == "XREAD":
                self._read(process, reply)
            elif command[0] == "UNLINK":
                self._forget_groups(command[1:])
            return
        added = _added(call, reply, probed)
        for prefix, ids in added.items():
            self.trace.know(prefix, ids)
        self.trace.called(process, call, reply)
        if isinstance(reply, NoScriptError):
            return
        if self.full and call.script in self._refused_when_full:
            if not isinstance(reply, OutOfMemoryError):
                raise Violation("S5", f"{call.script} was not refused by a full server: {reply}")
        elif call.script in GROUP:
            self._judge_group(call, reply, probed)
            return
        elif call.script in PARTITION:
            self._judge_partition(call, reply, added)
        if call.script in PARTITION:
            prefix, processor, producer = _touched(call)
            self._compare(prefix, processor, producer, probed[:_PROBES])
            if call.script == "promote" and added:
                self._compare_entries(prefix, added[prefix], probed[_PROBES])
            for i, (sink, _) in enumerate(_logs_of(call)):
                of_sink = probed[_PROBES + i * (_PROBES + 1) :]
                self._compare(sink, "", "", of_sink[:_PROBES])
                self._compare_entries(sink, added.get(sink, ()), of_sink[_PROBES])

    def _judge_group(self, call: Call, reply: Any, probed: list[Any]) -> None:
        if self._group(call).judge(call, reply, probed, self.now_ms):
            self.published += self.store.published()
        self.history.synced(call, reply)

    def _forget_groups(self, deleted: Sequence[Any]) -> None:
        """An operator has deleted the keys of a group, which starts from nothing."""
        for name, group in self.groups.items():
            if keys.plan(name) in deleted:
                group.now = read_group(self.store.run(group.probes()))
                group.highest_grant, group.keys_lost = 0, True

    def _judge_partition(self, call: Call, reply: Any, added: dict[str, list[str]]) -> None:
        error = reply if isinstance(reply, ResponseError) else None
        partition = self.model.at(split(call.keys[0])[0])
        before = self.history.state_before(call, partition)
        try:
            expected = self.model.expect(call.script, call.keys, call.args, self.now_ms, added)
        except Refused as refusal:
            if error is None or str(error).split()[0] != str(refusal):
                text = f"{call.script} must refuse with {refusal}, replied {reply}"
                raise self._violation(call, text) from None
            self.history.refused(call, str(refusal))
            return
        except (AssertionError, ValueError, IndexError, KeyError) as failure:
            text = f"{call.script} replied {reply}, which is impossible: {failure!r}"
            raise self._violation(call, text) from failure
        answer = [_plain(each) for each in (reply if isinstance(reply, list) else [reply])]
        if answer != expected:
            raise self._violation(call, f"{call.script} must reply {expected}, replied {answer}")
        self.grown += map(keys.log, added)
        self.history.applied(call, answer, partition, before)
        if call.script == "append_later":
            self.published += self.store.published()
        if call.script == "append_numbered":
            ever = None if self.history.exact else self.history.ever_owed
            check_forwarded(self.model, call, answer[0], ever)
        if call.script == "attempt" and call.args[2] == "start":
            self._check_starts(call)

    def _check_starts(self, call: Call) -> None:
        """The start of an event was recorded; that must not happen endlessly."""
        epoch, nonce, _, event = map(str, call.args[:4])
        start = (call.keys[0], epoch, nonce, event)
        self.starts[start] += 1
        if self.starts[start] > MOST_STARTS:
            text = f"the start of {event} was recorded {self.starts[start]} times"
            prefix = split(call.keys[0])[0]
            raise Violation("L6", self.trace.named(prefix, f"{prefix}: {text}"))

    def _violation(self, call: Call, text: str) -> Violation:
        names = {"claim": "S2", "commit": "S6", "transact": "S6", "append": "S6"}
        names |= dict.fromkeys(("append_numbered", "append_later", "promote", "cancel"), "S6")
        return Violation(
            names.get(call.script, "S5"), self.trace.named(split(call.keys[0])[0], text)
        )

    def _compare(self, prefix: str, processor: str, producer: str, probed: list[Any]) -> None:
        partition = self.model.at(prefix)
        state, meta, sent, numbers, outbox, stream, groups, table, waiting = probed
        self._require_equal(prefix, "meta", partition.meta, _pairs(meta))
        if processor:
            stored = {name: each for name, each in _pairs(state).items() if name not in FOR_PEOPLE}
            self._require_equal(prefix, processor, partition.states.get(processor, {}), stored)
            self._require_equal(
                prefix,
                "table",
                partition.tables.get(counting.name_of(processor), {}),
                dict(zip(table[::2], table[1::2], strict=True)),
            )
            self._require_equal(
                prefix,
                "outbox",
                partition.outboxes.get(processor, Log()).entries,
                {id_.decode(): tuple(fields) for id_, fields in outbox},
            )
        due = [(waiting[i], int(waiting[i + 1])) for i in range(0, len(waiting), 2)]
        self._require_equal(prefix, "delayed", delays.stored(partition), due)
        self._require_equal(prefix, "numbers", partition.numbers, _pairs(numbers))
        if producer:
            self._require_equal(
                prefix, "producer", partition.producers.get(producer), sent and sent.decode()
            )
        log = partition.log
        if log is None or isinstance(stream, ResponseError):
            self._require_equal(
                prefix, "log", log, None if isinstance(stream, ResponseError) else stream
            )
            return
        info = _pairs_of(stream)
        entry = info[b"first-entry"]
        self._require_equal(
            prefix,
            "log",
            (log.first(), log.last, log.added, len(log.entries)),
            (
                entry[0].decode() if entry else "0-0",
                info[b"last-generated-id"].decode(),
                info[b"entries-added"],
                info[b"length"],
            ),
        )
        found_groups = {}
        for group in groups:
            each = dict(zip(group[::2], group[1::2], strict=True))
            name, read = each[b"name"].decode(), each[b"entries-read"]
            _, known = log.groups.get(name, ("", 0))
            if read <= log.added < known:
                # The log has lost its end. Redis 8 then caps entries-read at entries-added.
                read = known
            found_groups[name] = (each[b"last-delivered-id"].decode(), read)
        self._require_equal(prefix, "groups", log.groups, found_groups)

    def _compare_entries(self, prefix: str, added: Sequence[str], last: list[Any]) -> None:
        """Compare the entries that a call has added with the model."""
        log = self.model.at(prefix).log
        found = {id_.decode(): tuple(fields) for id_, fields in reversed(last)}
        for id_ in added:
            if log and id_ in log.entries:
                self._require_equal(prefix, f"entry {id_}", log.entries[id_], found.get(id_))

    def _require_equal(self, prefix: str, what: str, expected: object, found: object) -> None:
        if expected != found:
            text = f"{prefix} {what}: must be {expected}, is {found}"
            raise Violation("S5", self.trace.named(prefix, text))


def _touched(call: Call) -> tuple[str, str, str]:
    """The partition, processor and producer of a call."""
    prefix, _, processor = split(call.keys[0])
    if call.script in ("claim", "register"):
        processor = str(call.args[3])
    elif call.script in ("commit", "transact", "seek", "remove"):
        processor = str(call.args[0])
    return prefix, processor, str(call.args[5]) if call.script == "append" else ""


def _partition_probes(prefix: str, processor: str, producer: str) -> list[Command]:
    return [
        ("HGETALL", keys.state(prefix, processor or "-")),
        ("HGETALL", keys.meta(prefix)),
        ("HGET", keys.producers(prefix), producer),
        ("HGETALL", keys.numbers(prefix)),
        ("XRANGE", keys.outbox(prefix, processor or "-"), "-", "+"),
        ("XINFO", "STREAM", keys.log(prefix)),
        ("XINFO", "GROUPS", keys.log(prefix)),
        ("HGETALL", counting.key_of(prefix, processor or "0")),
        ("ZRANGE", keys.delayed(prefix), 0, -1, "WITHSCORES"),
    ]


def _logs_of(call: Call) -> list[tuple[str, list[Fields]]]:
    """The prefixes of the partitions to which a commit adds entries, and these entries."""
    return [(split(key)[0], new) for key, new in sinks_of(call) if split(key)[1] == "log"]


def _added(call: Call, reply: Any, probed: list[Any]) -> dict[str, list[str]]:
    """Ids that the server gave to the entries of a call, by the prefix of their partition."""
    if not isinstance(reply, list) or reply[0] in (0, b""):
        return {}
    if call.script in ("append", "append_numbered"):
        ms, _, sequence = reply[1].decode().partition("-")
        ids = [f"{ms}-{int(sequence) + i}" for i in range(reply[2])]
        return {split(call.keys[0])[0]: ids}
    if call.script == "promote":
        newest = probed[_PROBES][: reply[0]]
        return {split(call.keys[0])[0]: [id_.decode() for id_, _ in reversed(newest)]}
    added = {}
    for i, (sink, new) in enumerate(_logs_of(call)):
        of_sink = probed[_PROBES + i * (_PROBES + 1) :]
        added[sink] = [id_.decode() for id_, _ in reversed(of_sink[_PROBES])]
        if len(added[sink]) < len(new):
            # Ids have the real time here, so that an age may have removed them at once.
            last = _pairs_of(of_sink[_INFO])[b"last-generated-id"].decode()
            ms, _, sequence = last.partition("-")
            added[sink] = [f"{ms}-{int(sequence) - n}" for n in reversed(range(len(new)))]
    return added


def _pairs_of(flat: list[Any]) -> dict[bytes, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _pairs(flat: list[bytes]) -> dict[str, str]:
    return {flat[i].decode(): flat[i + 1].decode() for i in range(0, len(flat), 2)}


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _without_block(command: Command) -> Command:
    if command[0] == "XREAD" and "BLOCK" in command:
        at = list(command).index("BLOCK")
        return (*command[:at], *command[at + 2 :])
    return ("PING",) if command[0] == "CLIENT" else command
