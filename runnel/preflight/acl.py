"""What the Redis user must be allowed to do, asked before anything is written.

Redis holds every command inside a script against the user's ACL, and a command that is refused
halfway leaves what the script wrote before it. So missing rights must be found ahead. ACL DRYRUN
and ACL GETUSER would tell, but are for administrators; trying the commands on a key made for it
would write, and would fill the server's ACL LOG. The script `check_acl` asks the server instead: it
runs none of the commands and needs only EVALSHA, which every user of Runnel has.

Nothing is listed here that could grow stale: what a script calls is read from its source. The same
question finds what the server does not have at all: a hardened or managed server lacks commands
that were renamed or switched off there, and a proxy does not pass everything on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from urllib.parse import parse_qs, unquote, urlsplit

from redis.exceptions import NoPermissionError, ResponseError

from runnel import keys, protocol
from runnel.connection.explain import is_absent
from runnel.connection.url_text import shown
from runnel.errors import ServerError
from runnel.protocol.scripts import Call, Scripts, sources

Words = tuple[str, ...]

_CALLED = re.compile(r"redis\.p?call\('([A-Z]+)'(?:, '([A-Z]+)')?")
_REFUSED = re.compile(r"'([\w|]+)' command")
_UNKNOWN = re.compile(r"(?i)unknown command [`']([\w|]+)")
_LOAD: Words = ("SCRIPT", "LOAD", "")
#: What works without a command, only later.
_LATER = {
    "SUBSCRIBE": "a worker hears of changes in its group with its next heartbeat, and not at once"
}
#: Commands in one question; the script takes up to 1000.
_PAGE = 500


@cache
def commands_of(script: str) -> tuple[str, ...]:
    """The commands that a script calls, such as ``XGROUP SETID``."""
    found = _CALLED.findall(sources()[script].decode())
    return tuple(sorted({" ".join(words).strip() for words in found}))


@dataclass(frozen=True)
class Required:
    """What one kind of client of an app runs.

    `calls` are calls of scripts as it will make them, `direct` the commands it runs itself with the
    key of each, `channels` those that are for channels, PUBLISH and SUBSCRIBE, with theirs. `of` is
    what it is, in a message.
    """

    app: str
    calls: tuple[Call, ...]
    direct: tuple[tuple[str, str], ...] = ()
    channels: tuple[tuple[str, str], ...] = ()
    of: str = "Runnel"

    def uses(self) -> Iterator[tuple[str, str]]:
        """Every command with every key that it may be run on, or with no key."""
        for call in self.calls:
            for command in commands_of(call.script):
                if command == "TIME":
                    yield command, ""
                elif command != "PUBLISH":
                    yield from ((command, key) for key in call.keys)
        yield from self.direct

    def keys_used(self) -> tuple[str, ...]:
        """Every key, once."""
        named = [key for call in self.calls for key in call.keys]
        return tuple(dict.fromkeys(named + [key for _, key in self.direct if key]))


@dataclass(frozen=True)
class Missing:
    """What a user may not do. `commands` are named as in a rule of the ACL.

    Where no command is allowed on a channel, the commands or the channel may be what is missing:
    `ways` are those commands. `absent` are commands that the server has for nobody.
    """

    commands: list[str]
    patterns: list[str]
    channels: list[str]
    ways: list[str]
    absent: list[str] = field(default_factory=list)

    def told(self) -> str:
        """What the user cannot do."""
        names = ", ".join(each.replace("|", " ").upper() for each in self.commands)
        parts = [f"run {names}"] if names else []
        if self.patterns:
            parts.append(f"use the keys {', '.join(self.patterns)}")
        if self.channels:
            parts.append(f"use the channels {', '.join(self.channels)}")
        return " and ".join(parts)

    def only_later(self) -> bool:
        """Can all of it be done without?"""
        vital = [each for each in self.commands if each.upper() not in _LATER]
        return not (vital or self.patterns or self.channels)

    def mended(self, user: str) -> str:
        """The commands that grant it."""
        rules = [f"+{each}" for each in sorted({*self.commands, *self.ways})]
        rules += [f"~{each}" for each in self.patterns]
        # By themselves: who may use all channels need not be granted one, and Redis refuses a whole
        # list of rules for it.
        channels = [f"&{each}" for each in self.channels]
        granted = [" ".join(each) for each in (rules, channels) if each]
        return ", then ".join(f"ACL SETUSER {user} {each}" for each in granted)


async def check(scripts: Scripts, needs: Required, url: str) -> list[str]:
    """Raise ServerError if the user lacks a right, with the command that mends it, or the server a
    command. Returns warnings about commands that are lacking and that can be done without."""
    try:
        missing = await _missing(scripts, needs)
    except NoPermissionError as error:  # The question itself was refused.
        refused = _REFUSED.search(str(error))
        missing = Missing([refused[1]] if refused else ["evalsha", "script|load"], [], [], [])
    except ResponseError as error:
        if not is_absent(error):
            raise
        unknown = _UNKNOWN.search(str(error))
        missing = Missing(
            [], [], [], [], (unknown[1] if unknown else "EVALSHA, SCRIPT LOAD").split(", ")
        )
    if vital := [each for each in missing.absent if each not in _LATER]:
        raise ServerError(
            f"Redis at {shown(url)} has no {', '.join(vital)}, without which {needs.of} cannot "
            "work: renamed or switched off there, or not passed on by a proxy in between."
        )
    warnings = [f"Redis at {shown(url)} has no {each}: {_LATER[each]}." for each in missing.absent]
    if lacks := missing.told():
        user = _user(url)
        said = f"Redis at {shown(url)} does not let its user {user} {lacks}: "
        if not missing.only_later():
            raise ServerError(said + missing.mended(user))
        later = "; ".join(_LATER[each.upper()] for each in missing.commands)
        warnings.append(f"{said}{later}. {missing.mended(user)}")
    return warnings


async def may(scripts: Scripts, commands: Iterable[Words]) -> dict[Words, bool]:
    """Which commands, each given by its words up to its keys, the user may run here."""
    return {words: bool(answer) for words, answer in (await _ask(scripts, commands)).items()}


async def _ask(scripts: Scripts, commands: Iterable[Words]) -> dict[Words, bool | None]:
    """The same, with None for what the server does not have."""
    asked = list(dict.fromkeys(commands))
    answers: list[bool | None] = []
    for at in range(0, len(asked), _PAGE):
        reply = await scripts.call(protocol.check_acl(asked[at : at + _PAGE]))
        answers += protocol.read_check_acl(reply)
    return dict(zip(asked, answers, strict=True))


async def _missing(scripts: Scripts, needs: Required) -> Missing:
    uses, every_key = list(needs.uses()), needs.keys_used()
    questions = {use: _question(*use) for use in uses}
    on_keys = {key: _script_on(key) for key in every_key}
    answers = await _ask(scripts, (_LOAD, *questions.values(), *on_keys.values(), *needs.channels))
    named = [(use[0], answers[each]) for use, each in questions.items()]
    named += [(command, answers[command, name]) for command, name in needs.channels]
    absent = {command for command, answer in named if answer is None}
    keys_refused = {key for key in every_key if answers[on_keys[key]] is False}
    # On a key that is refused, nothing can be learnt about a command.
    askable = [use for use in uses if use[1] not in keys_refused]
    commands = {use[0] for use in askable if answers[questions[use]] is False}
    if not answers[_LOAD]:
        (commands if answers[_LOAD] is False else absent).add("SCRIPT LOAD")
    # Where one command is allowed, the channel is.
    channels = [each for each in needs.channels if each[0] not in absent]
    reached = {name for command, name in channels if answers[command, name]}
    closed = {name for _, name in channels} - reached
    refused = [(command, name) for command, name in channels if not answers[command, name]]
    commands |= {command for command, name in refused if name not in closed}
    return Missing(
        sorted(_rule(tuple(command.split())) for command in commands),
        _patterns(needs.app, keys_refused),
        _patterns(needs.app, closed),
        sorted({command.lower() for command, name in refused if name in closed}),
        sorted(absent),
    )


def _script_on(key: str) -> Words:
    """Any script with this key: Redis wants the right to read and to write it."""
    return tuple(map(str, Call("check_acl", (key,), ()).command()))


def _question(command: str, key: str) -> Words:
    if command == "XREAD":
        return ("XREAD", "STREAMS", key, "0")
    return (*command.split(), key) if key else tuple(command.split())


def _rule(words: Words) -> str:
    return "|".join(words).lower()


def _patterns(app: str, names: Iterable[str]) -> list[str]:
    """The patterns that cover these keys or channels."""
    wanted = list(names)
    return [
        pattern
        for pattern in keys.patterns(app)
        if any(name == pattern or name.startswith(pattern.removesuffix("*")) for name in wanted)
    ]


def _user(url: str) -> str:
    """Whom the URL logs in as. A name without a password is shown as nobody's: it may be one."""
    parts = urlsplit(url)
    options = parse_qs(parts.query)
    name = unquote(parts.username or "") or options.get("username", [""])[0]
    return name if name and (parts.password or "password" in options) else "default"
