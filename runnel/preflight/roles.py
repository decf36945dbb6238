"""The least ACL rule for each role: what workers, producers, operators and viewers may run.

It comes from what the checks before the start ask for, with the calls of every feature, and from
the sources of the scripts. So there is no list of commands that could become outdated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from runnel import keys, protocol
from runnel.app import App
from runnel.connection.durability import Durability
from runnel.dead_letter import DeadLetter
from runnel.events import Events
from runnel.middleware import DeadLetterMiddleware
from runnel.preflight import checks
from runnel.preflight.acl import Required, acl_name, patterns_of
from runnel.preflight.delayed_checks import required_by_delayed
from runnel.preflight.parking import required_by_dead
from runnel.preflight.snapshot_checks import required_by_snapshots
from runnel.preflight.stream_checks import required_by_stream
from runnel.processor import ExceptionPolicy
from runnel.protocol import CheckpointMove, PartitionKeys, Token
from runnel.protocol.effects import OutboxTrim
from runnel.stream import StreamSpec
from runnel.table import Table

Role = Literal["worker", "producer", "operator", "viewer"]

#: Role -> what it is for, in one line.
ROLES: dict[Role, str] = {
    "worker": "runs `runnel worker`, whose handlers may send, emit and write tables",
    "producer": "sends: at once, numbered, with a natural key, and for later",
    "operator": "runs every command but `worker`, `send`, `sendmany` and `demo`",
    "viewer": "looks: inspect, tail, show, and whatever else changes nothing",
}
#: What every client runs.
_EVERYBODY = ("evalsha", "script|load")
#: What a role runs besides. INFO tells version, role and eviction policy of the server.
_MORE = {
    "worker": ("info",),
    "producer": (),
    "operator": ("info", "script|exists"),
    "viewer": ("info", "script|exists"),
}
#: How a client of a cluster finds its nodes, and follows a slot that moves.
_ON_A_CLUSTER = ("asking", "cluster|info", "cluster|slots")


@dataclass(frozen=True)
class Rule:
    """The least that a user of an app needs for a role, as ACL SETUSER takes it."""

    role: Role
    user: str
    commands: tuple[str, ...]
    keys: tuple[str, ...]
    channels: tuple[str, ...]

    def text(self) -> str:
        """The command that makes the user, with PASSWORD where its password belongs. It takes away
        what the user had before."""
        words = ["reset", "resetchannels", "on", ">PASSWORD"]
        words += [f"~{each}" for each in self.keys]
        words += [f"&{each}" for each in self.channels]
        words += [f"+{each}" for each in self.commands]
        return f"ACL SETUSER {self.user} {' '.join(words)}"


def rule(
    role: Role,
    app: str | None,
    user: str | None = None,
    durability: Durability = "primary",
    cluster: bool = False,
) -> Rule:
    """The rule of a role for one app, or for all apps. Raises ConfigError for a wrong name."""
    parts = required(role, app or "app", durability)
    used = {command for each in parts for command, _ in each.uses()}
    names = {name for each in parts for name in each.keys_used()}
    messages = {message for each in parts for message in each.channels}
    commands = {acl_name(each) for each in used | {command for command, _ in messages}}
    channels = {name for _, name in messages}
    return Rule(
        role,
        user or f"{app or 'runnel'}-{role}",
        (
            *sorted({*commands, *_EVERYBODY, *_MORE[role]}),
            *(_ON_A_CLUSTER if cluster else ()),
        ),
        tuple(patterns_of(app, names) if app else [keys.EVERY]),
        tuple((patterns_of(app, channels) if app else [keys.EVERY]) if channels else ()),
    )


def required(role: Role, app: str, durability: Durability = "primary") -> list[Required]:
    """What a role may run in an app that uses every feature. Raises ConfigError for a wrong name of
    an app."""
    return _Sample(app, durability).required(role)


@dataclass
class _Record:
    key: str


class _Sample:
    """An app that uses every feature."""

    def __init__(self, name: str, durability: Durability) -> None:
        self.app = App(name, durability=durability)
        stream = self.app.stream("s", record=_Record, partition_by="key", max_age=1)
        self.table: Table[int] = self.app.table("t", stream, value=int, processor="p", expire=1)

        @self.app.processor(
            stream, exception_policy=ExceptionPolicy.PARK, middleware=[DeadLetterMiddleware()]
        )
        async def p(events: Events[_Record]) -> None: ...

        @self.app.timer(interval=1, on_leader=True)
        async def sweep() -> None: ...

        (self.processor,) = self.app.choose(["p"])
        self.spec: StreamSpec[_Record] = stream.spec
        self.letters: StreamSpec[DeadLetter] = stream.dead_letters("p").spec

    def required(self, role: Role) -> list[Required]:
        """What a role may run."""
        match role:
            case "worker":
                return [*self._worker(), *self._producer(), *self._reads_tables()]
            case "producer":
                return self._producer()
            case "viewer":
                return self._viewer()
            case "operator":
                return [*self._viewer(), *self._operator()]

    def _worker(self) -> list[Required]:
        of = self.processor.keys(0)
        effects: list[protocol.Effect] = [
            protocol.TableWrites(of.prefix, "t", expire=1),
            protocol.Entries(self.letters.sink(0), []),
        ]
        # In a cluster, entries wait in an outbox, from which they are forwarded.
        outbox = (
            protocol.trim_outbox(of, Token(0, ""), OutboxTrim("0-0", 0, 0)),
            protocol.transact(of, Token(0, ""), CheckpointMove("0-0", "0-0", 0), effects),
        )
        direct = (("XRANGE", keys.outbox(of.prefix, "p")),)
        worker = checks.required_by_worker(self.app, [self.processor])
        return [worker, Required(self.app.name, outbox, direct)]

    def _producer(self) -> list[Required]:
        durability = self.app.settings.durability
        spec = self.spec
        prefix, contract = spec.prefix(0), spec.contract
        calls = (
            protocol.append_numbered(prefix, contract, 2, "refuse", "producer:p", []),
            protocol.append_once(prefix, contract, 2, "refuse", "k", 1, []),
            protocol.append_later(prefix, contract, 2, ("delay", 1), "k", 1, []),
            protocol.cancel(prefix, 1, 1),
        )
        channels = (("PUBLISH", keys.delayed_wake(self.app.name, spec.name)),)
        more = Required(self.app.name, calls, (("HGET", keys.numbers(prefix)),), channels)
        return [checks.required_by_sender(spec, durability), more]

    def _reads_tables(self) -> list[Required]:
        return [checks.required_by_table(self.table, "get")]

    def _viewer(self) -> list[Required]:
        app, spec, processor = self.app.name, self.spec, self.processor
        prefix = spec.prefix(0)
        of = PartitionKeys(prefix, "p")
        inspects = (protocol.describe(of), protocol.describe_group(processor.group))
        registry = (
            ("SMEMBERS", keys.apps()),
            ("HGETALL", keys.streams(app)),
            ("HGETALL", keys.processors(app)),
            ("MEMORY USAGE", keys.table(prefix, "t")),
            ("HGET", of.meta),
        )
        return [
            Required(app, inspects, registry),
            checks.required_by_reader(spec, follow=True),
            *(checks.required_by_table(self.table, each) for each in ("list", "get", "export")),
            required_by_dead(processor, "list"),
            required_by_delayed(spec, cancels=False),
            required_by_snapshots(processor, "list"),
            required_by_stream(spec, "show"),
        ]

    def _operator(self) -> list[Required]:
        spec, processor = self.spec, self.processor
        actions = ("reset", "pause", "resume", "acknowledge", "skip", "remove")
        return [
            checks.required_by_registration(processor),
            *(checks.required_by_operator(processor, each) for each in actions),
            checks.required_by_deletion(spec),
            checks.required_by_table(self.table, "clear"),
            *(required_by_dead(processor, each) for each in ("replay", "drop")),
            required_by_delayed(spec, cancels=True),
            *(required_by_snapshots(processor, each) for each in ("take", "restore", "delete")),
            *(required_by_stream(spec, each) for each in ("create", "trim")),
        ]


assert set(ROLES) == set(get_args(Role))
