"""Raw calls of the scripts under a clock that the test sets, with a snapshot of all keys each time.

What holds for every script is checked with every call: a refusal has a word that the script's
header declares, no error is raised from inside, and a refused call has written nothing (S5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from runnel.protocol.scripts import sources
from tests.lua.headers import Header, parse
from tests.simulation.clock import CLOCK_KEY, clock_fields, with_virtual_clock

Arg = str | int | bytes
#: The time at which every test begins: milliseconds since 1970.
START = 1_800_000_000_000
HEADERS: dict[str, Header] = {name: parse(text.decode())[0] for name, text in sources().items()}
#: Scripts whose reply begins with what this call has changed: nothing, when it is repeated.
REPLY_COUNTS_CHANGES = {
    *(
        "declare",
        "clear_table",
        "append",
        "append_numbered",
        "append_once",
        "append_later",
        "promote",
        "cancel",
        "commit",
        "transact",
        "acknowledge",
        "pause",
        "register",
        "revoke",
        "remove",
        "trim",
        "trim_outbox",
        "resume",
        "delete",
        "park_again",
        "postpone",
        "replay",
        "drop_parked",
        "take_letters",
    )
}
#: Reads all keys with their contents, except the clock.
_SNAPSHOT = """
local found = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  local kind = redis.call('TYPE', key).ok
  local content
  if key == ARGV[1] then
    kind = nil
  elseif kind == 'hash' then
    content = redis.call('HGETALL', key)
  elseif kind == 'zset' then
    content = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  elseif kind == 'stream' then
    local info, groups = redis.call('XINFO', 'STREAM', key), redis.call('XINFO', 'GROUPS', key)
    content = {redis.call('XRANGE', key, '-', '+'), info, groups}
  else
    content = redis.call('DUMP', key)
  end
  if kind then found[#found + 1] = {key, kind, content} end
end
return found
"""


@dataclass(frozen=True)
class Refused:
    """An error reply: its word and its details."""

    word: str
    text: str = ""

    @property
    def details(self) -> dict[str, str]:
        """The ``key=value`` pairs behind the word."""
        pairs = (pair.partition("=") for pair in self.text.split(" ")[1:])
        return {name: value for name, _, value in pairs}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Refused) and self.word == other.word

    def __hash__(self) -> int:
        return hash(self.word)


@dataclass
class Group:
    """A consumer group, as XINFO shows it."""

    at: str
    read: int | None
    lag: int | None


@dataclass
class Log:
    """A stream key: its entries, its counters, its groups."""

    entries: list[tuple[str, tuple[str, ...]]]
    added: int
    last: str
    groups: dict[str, Group]

    def behind(self, event: str) -> list[str]:
        """Ids of the entries that come after `event`."""
        return [each for each, _ in self.entries if order(each) > order(event)]


#: Key -> what it holds: a dict for a hash or a sorted set, a Log, or the bytes of anything else.
Snapshot = dict[str, Any]


def order(event: str) -> tuple[int, int]:
    """An id as something to compare."""
    ms, _, sequence = event.partition("-")
    return int(ms), int(sequence)


class Wire:
    """One connection to a server that nobody else uses."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.now = START
        self.shas = {
            name: self._text(redis.script_load(with_virtual_clock(source).decode()))
            for name, source in sources().items()
        }
        self._snapshot = self._text(redis.script_load(_SNAPSHOT))
        self.seen: Snapshot = {}

    def clear(self) -> None:
        """An empty server at the time START."""
        self.redis.flushall()
        self.set_clock(START)
        self.seen = {}

    def set_clock(self, ms: int) -> None:
        """Make it this time, on the server and here."""
        self.now = ms
        self.redis.hset(CLOCK_KEY, mapping=clock_fields(ms))  # type: ignore[arg-type]

    def snapshot(self) -> Snapshot:
        """Everything on the server. Also stored as `seen`."""
        found: Any = self.redis.evalsha(self._snapshot, 0, CLOCK_KEY)
        self.seen = {self._text(key): _content(self._text(kind), it) for key, kind, it in found}
        return self.seen

    def send(self, script: str, keys: list[str], *args: Arg) -> Any:
        """The reply, or Refused with a word of any kind; nothing is checked."""
        try:
            reply: Any = self.redis.evalsha(self.shas[script], len(keys), *keys, *args)
        except ResponseError as error:
            return Refused(str(error).partition(" ")[0], str(error))
        return decoded(reply)

    def call(self, script: str, keys: list[str], *args: Arg) -> Any:
        """The reply, or Refused, having checked what holds for every call of every script.

        `seen` must be what was on the server before, and is what is there afterwards.
        """
        before = self.seen
        outcome = self.send(script, keys, *args)
        after = self.snapshot()
        if isinstance(outcome, Refused):
            assert outcome.word in HEADERS[script].errors, f"{script} {args}: {outcome.text}"
            assert after == before, f"S5: {script} {args} said {outcome.text} and wrote"
        elif not HEADERS[script].writes:
            assert after == before, f"{script} says that it writes nothing"
        return outcome

    def repeat(self, first: Any, script: str, keys: list[str], *args: Arg) -> None:
        """S6: the call again, byte for byte, answers as it did the first time and writes nothing.

        Scripts that say whether they have changed something may now say that they have not.
        """
        before = self.seen
        again = self.call(script, keys, *args)
        assert self.seen == before, f"S6: {script} {args}, repeated, wrote"
        if isinstance(first, Refused) or script not in REPLY_COUNTS_CHANGES:
            assert again == first, f"S6: {script} {args} said {first}, repeated {again}"
            return
        one, two = (each if isinstance(each, list) else [each] for each in (first, again))
        assert two[1:] == one[1:], f"S6: {script} {args} said {first}, repeated {again}"
        assert two[0] in (0, one[0]), f"S6: {script} {args} said {first}, repeated {again}"

    @staticmethod
    def _text(value: Any) -> str:
        return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def decoded(reply: Any) -> Any:
    """A reply with text for bytes."""
    if isinstance(reply, list):
        return [decoded(each) for each in reply]
    return reply.decode("utf-8", "surrogateescape") if isinstance(reply, bytes) else reply


def _content(kind: str, raw: Any) -> Any:
    if kind in ("hash", "zset"):
        flat = decoded(raw)
        return dict(zip(flat[::2], flat[1::2], strict=True))
    if kind != "stream":
        return raw
    entries, info, groups = decoded(raw)
    about = dict(zip(info[::2], info[1::2], strict=True))
    found = {}
    for each in groups:
        group = dict(zip(each[::2], each[1::2], strict=True))
        found[group["name"]] = Group(
            group["last-delivered-id"], group["entries-read"], group["lag"]
        )
    return Log(
        [(event, tuple(fields)) for event, fields in entries],
        about["entries-added"],
        about["last-generated-id"],
        found,
    )
