"""Checks that the Redis user has all permissions that a client needs, before it writes anything.

Redis checks every command inside a script against the user's ACL. If it refuses one, the writes of
the script before that command stay. So missing permissions must be found in advance. ACL DRYRUN and
ACL GETUSER would show them, but are for administrators. Trying the commands on a test key would
write, and would fill the server's ACL LOG. The script `check_acl` asks the server instead: it runs
none of the commands and needs only EVALSHA, which every user of Runnel has.

The commands of a script are read from its source, so there is no list that could become outdated.
The same check finds commands that the server does not have: a hardened or managed server may lack
commands that were renamed or disabled, and a proxy may not pass on all of them.
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
from runnel.connection.url_text import redacted
from runnel.errors import ServerError
from runnel.protocol.scripts import Call, Scripts, sources

Words = tuple[str, ...]

_CALLED = re.compile(r"redis\.p?call\('([A-Z]+)'(?:, '([A-Z]+)')?")
_REFUSED = re.compile(r"'([\w|]+)' command")
_UNKNOWN = re.compile(r"(?i)unknown command [`']([\w|]+)")
_LOAD: Words = ("SCRIPT", "LOAD", "")
#: Command that a client can do without -> what then happens later.
_LATER = {
    "SUBSCRIBE": "a worker learns of changes in its group with its next heartbeat, and not at once"
}
#: Commands in one call; the script takes up to 1000.
_PAGE = 500


@cache
def commands_of(script: str) -> tuple[str, ...]:
    """The commands that a script calls, such as ``XGROUP SETID``."""
    return commands_in(sources()[script].decode())


def commands_in(source: str) -> tuple[str, ...]:
    """The commands that the source of a script calls."""
    return tuple(sorted({" ".join(words).strip() for words in _CALLED.findall(source)}))


@dataclass(frozen=True)
class Required:
    """The commands, keys and channels that one kind of client of an app uses.

    `calls` are calls of scripts as the client will make them. `direct` has the commands that it
    runs itself, each with its key. `channels` has PUBLISH and SUBSCRIBE with their channels. `of`
    is the name of the client in a message.
    """

    app: str
    calls: tuple[Call, ...]
    direct: tuple[tuple[str, str], ...] = ()
    channels: tuple[tuple[str, str], ...] = ()
    of: str = "Runnel"

    def uses(self) -> Iterator[tuple[str, str]]:
        """Every command with each key that it may run on, or with an empty key."""
        for call in self.calls:
            for command in commands_of(call.script):
                if command == "TIME":
                    yield command, ""
                elif command != "PUBLISH":
                    yield from ((command, key) for key in call.keys)
        yield from self.direct

    def keys_used(self) -> tuple[str, ...]:
        """Every key, once."""
        of_calls = [key for call in self.calls for key in call.keys]
        return tuple(dict.fromkeys(of_calls + [key for _, key in self.direct if key]))


@dataclass(frozen=True)
class MissingPermissions:
    """The permissions that a user lacks. `commands` are named as in an ACL rule.

    If no command is allowed on a channel, either the commands or the channel may be missing: these
    commands are in `channel_commands`. `absent` are commands that the server does not have.
    """

    commands: list[str]
    patterns: list[str]
    channels: list[str]
    channel_commands: list[str]
    absent: list[str] = field(default_factory=list)

    def described(self) -> str:
        """What the user cannot do, as the end of a sentence."""
        names = ", ".join(each.replace("|", " ").upper() for each in self.commands)
        parts = [f"run {names}"] if names else []
        if self.patterns:
            parts.append(f"use the keys {', '.join(self.patterns)}")
        if self.channels:
            parts.append(f"use the channels {', '.join(self.channels)}")
        return " and ".join(parts)

    def dispensable(self) -> bool:
        """Whether the client can do without all of it."""
        vital = [each for each in self.commands if each.upper() not in _LATER]
        return not (vital or self.patterns or self.channels)

    def fix(self, user: str) -> str:
        """The commands that grant the permissions."""
        rules = [f"+{each}" for each in sorted({*self.commands, *self.channel_commands})]
        rules += [f"~{each}" for each in self.patterns]
        # In a command of its own: for a user who may use all channels, Redis refuses to grant one,
        # and all other rules of the command with it.
        channels = [f"&{each}" for each in self.channels]
        granted = [" ".join(each) for each in (rules, channels) if each]
        return ", then ".join(f"ACL SETUSER {user} {each}" for each in granted)


async def check(scripts: Scripts, required: Required, url: str) -> list[str]:
    """Raise ServerError if the user lacks a permission, with the command that grants it, or if the
    server lacks a command. Returns warnings about commands that are missing but dispensable."""
    try:
        missing = await _missing(scripts, required)
    except NoPermissionError as error:  # The call of `check_acl` was refused.
        refused = _REFUSED.search(str(error))
        commands = [refused[1]] if refused else ["evalsha", "script|load"]
        missing = MissingPermissions(commands, [], [], [])
    except ResponseError as error:
        if not is_absent(error):
            raise
        unknown = _UNKNOWN.search(str(error))
        missing = MissingPermissions(
            [], [], [], [], (unknown[1] if unknown else "EVALSHA, SCRIPT LOAD").split(", ")
        )
    if vital := [each for each in missing.absent if each not in _LATER]:
        raise ServerError(
            f"Redis at {redacted(url)} has no {', '.join(vital)}, without which {required.of} "
            "cannot work: it is renamed or disabled there, or a proxy in between does not pass it "
            "on."
        )
    warnings = [
        f"Redis at {redacted(url)} has no {each}: {_LATER[each]}." for each in missing.absent
    ]
    if lacks := missing.described():
        user = _user(url)
        text = f"Redis at {redacted(url)} does not let its user {user} {lacks}: "
        if not missing.dispensable():
            raise ServerError(text + missing.fix(user))
        later = "; ".join(_LATER[each.upper()] for each in missing.commands)
        warnings.append(f"{text}{later}. {missing.fix(user)}")
    return warnings


async def may(scripts: Scripts, commands: Iterable[Words]) -> dict[Words, bool]:
    """Whether the user may run each command, given by its words up to its keys."""
    return {words: bool(answer) for words, answer in (await _ask(scripts, commands)).items()}


async def _ask(scripts: Scripts, commands: Iterable[Words]) -> dict[Words, bool | None]:
    """Like `may`, with None for a command that the server does not have."""
    asked = list(dict.fromkeys(commands))
    answers: list[bool | None] = []
    for at in range(0, len(asked), _PAGE):
        reply = await scripts.call(protocol.check_acl(asked[at : at + _PAGE]))
        answers += protocol.read_check_acl(reply)
    return dict(zip(asked, answers, strict=True))


async def _missing(scripts: Scripts, required: Required) -> MissingPermissions:
    uses, every_key = list(required.uses()), required.keys_used()
    questions = {use: _question(*use) for use in uses}
    on_keys = {key: _script_on(key) for key in every_key}
    answers = await _ask(
        scripts, (_LOAD, *questions.values(), *on_keys.values(), *required.channels)
    )
    by_command = [(use[0], answers[each]) for use, each in questions.items()]
    by_command += [(command, answers[command, name]) for command, name in required.channels]
    absent = {command for command, answer in by_command if answer is None}
    keys_refused = {key for key in every_key if answers[on_keys[key]] is False}
    # The answer for a key that is refused says nothing about the command.
    askable = [use for use in uses if use[1] not in keys_refused]
    commands = {use[0] for use in askable if answers[questions[use]] is False}
    if not answers[_LOAD]:
        (commands if answers[_LOAD] is False else absent).add("SCRIPT LOAD")
    # If one command is allowed on a channel, the channel is allowed.
    channels = [each for each in required.channels if each[0] not in absent]
    reached = {name for command, name in channels if answers[command, name]}
    closed = {name for _, name in channels} - reached
    refused = [(command, name) for command, name in channels if not answers[command, name]]
    commands |= {command for command, name in refused if name not in closed}
    return MissingPermissions(
        sorted(acl_name(command) for command in commands),
        patterns_of(required.app, keys_refused),
        patterns_of(required.app, closed),
        sorted({command.lower() for command, name in refused if name in closed}),
        sorted(absent),
    )


def _script_on(key: str) -> Words:
    """Any script with this key: Redis requires permission to read and to write it."""
    return tuple(map(str, Call("check_acl", (key,), ()).command()))


def _question(command: str, key: str) -> Words:
    if command == "XREAD":
        return ("XREAD", "STREAMS", key, "0")
    return (*command.split(), key) if key else tuple(command.split())


def acl_name(command: str) -> str:
    """A command such as ``XGROUP SETID`` as an ACL rule names it."""
    return "|".join(command.split()).lower()


def patterns_of(app: str, names: Iterable[str]) -> list[str]:
    """The ACL patterns of an app that cover these keys or channels."""
    wanted = list(names)
    return [
        pattern
        for pattern in keys.patterns(app)
        if any(name == pattern or name.startswith(pattern.removesuffix("*")) for name in wanted)
    ]


def _user(url: str) -> str:
    """The user of the URL. A name without a password is not shown: it may be a password."""
    parts = urlsplit(url)
    options = parse_qs(parts.query)
    name = unquote(parts.username or "") or options.get("username", [""])[0]
    return name if name and (parts.password or "password" in options) else "default"
