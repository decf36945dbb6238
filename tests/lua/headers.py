"""Parses the header of a script and compares the body with it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tests.lua.bytecode import globals_of

WORDS = r"[A-Z][A-Z_]{3,}"
#: Globals that Redis and Lua give to a script.
KNOWN_GLOBALS = {
    *("KEYS", "ARGV", "redis", "math", "string", "table"),
    *("ipairs", "next", "pairs", "pcall", "tonumber", "tostring", "type", "unpack"),
}
#: Arguments whose name is a global in Lua, and their names in the scripts.
LOCAL_NAMES = {"next": "next_id"}
_KEY = re.compile(r"-- KEYS\[(\d+)\] +(\w+) +(hash|stream|string|zset) +(\S+)$")
#: Keys whose number depends on the arguments; the text has one pattern or more.
_MORE_KEYS = re.compile(r"-- KEYS\[(\d+)\+\] +\w+ +mixed +(.+)$")
_ARG = re.compile(r"-- ARGV\[(\d+)(\+?)\] +(\w+) +(int|str|id) +(.+)$")
_REPLY = re.compile(r"-- REPLY +(\w+) +(int|str|id) +.+$")
_ERROR = re.compile(rf"-- ERROR +({WORDS}) +.+$")
#: A channel that a script publishes to. It is not in KEYS: while a slot moves, a cluster refuses
#: calls with a key that does not exist, and a channel never exists.
_CHANNEL = re.compile(r"-- PUBLISHES +(\S+)$")


@dataclass
class Header:
    """The header of a script."""

    flags: set[str] = field(default_factory=set)
    keys: list[tuple[str, str]] = field(default_factory=list)
    key_types: list[str] = field(default_factory=list)
    more_keys: list[str] = field(default_factory=list)
    args: list[str] = field(default_factory=list)
    arg_types: list[str] = field(default_factory=list)
    open_ended: bool = False
    errors: set[str] = field(default_factory=set)
    channels: list[str] = field(default_factory=list)
    writes: bool | None = None
    repeat: bool = False
    bound: bool = False
    version: bool = False
    replies: int = 0


def parse(source: str) -> tuple[Header, str]:
    """The header and the body. Raises ValueError for a line that is not part of a header."""
    lines = source.splitlines()
    header, at = Header(), 1
    if not lines[0].startswith("#!lua"):
        raise ValueError("line 1 must be #!lua")
    header.flags = set(lines[0].partition("flags=")[2].split(",")) - {""}
    while lines[at].startswith("--"):
        line = lines[at]
        if found := _KEY.match(line):
            if int(found[1]) != len(header.keys) + 1:
                raise ValueError(f"KEYS are not numbered in order: {line}")
            header.keys.append((found[2], found[4]))
            header.key_types.append(found[3])
        elif found := _MORE_KEYS.match(line):
            if int(found[1]) != len(header.keys) + 1:
                raise ValueError(f"KEYS are not numbered in order: {line}")
            header.more_keys = re.findall(r"runnel:[^\s;,]+", found[2])
        elif found := _ARG.match(line):
            if int(found[1]) != len(header.args) + 1 or header.open_ended:
                raise ValueError(f"ARGV are not numbered in order: {line}")
            header.open_ended = bool(found[2])
            header.args.append(found[3])
            header.arg_types.append(found[4])
        elif found := _ERROR.match(line):
            header.errors.add(found[1])
        elif found := _CHANNEL.match(line):
            header.channels.append(found[1])
        elif _REPLY.match(line):
            header.replies += 1
        elif line.startswith("-- WRITES"):
            header.writes = line.split()[2] == "yes"
        elif line.startswith("-- REPEAT "):
            header.repeat = True
        elif line.startswith("-- BOUND "):
            header.bound = True
        elif line.startswith("-- VERSION"):
            header.version = True
        elif at > 1 and not line.startswith("--  "):
            raise ValueError(f"not a header line: {line}")
        at += 1
    return header, "\n".join(lines[at:]) + "\n"


def problems(source: str, words: set[str], patterns: set[str]) -> list[str]:
    """Faults of a script. `words` are the known error words, `patterns` the known keys."""
    try:
        header, body = parse(source)
    except ValueError as error:
        return [str(error)]
    code = re.sub(r"--[^\n]*", "", body)
    found: list[str] = []
    if not (header.replies and header.repeat and header.bound and header.version):
        found.append("the header must state REPLY, REPEAT, BOUND and VERSION")
    if not header.keys and "redis.call" in code:
        found.append("a script that uses keys must state them")
    for name, pattern in header.keys:
        if pattern not in patterns:
            found.append(f"key {name}: {pattern} is not in runnel/keys.py")
    if not patterns.issuperset(header.more_keys):
        found.append(f"keys {header.more_keys} are not all in runnel/keys.py")
    if not patterns.issuperset(header.channels):
        found.append(f"channels {header.channels} are not all in runnel/keys.py")
    if bool(header.channels) != ("'PUBLISH'" in code):
        found.append("PUBLISHES does not agree with the body")
    tags = {re.search(r"\{.*\}", pattern)[0] for _, pattern in header.keys}  # type: ignore[index]
    if len(tags) > 1:
        found.append(f"keys in more than one slot: {tags}")
    found += _bindings(header, code)
    used = set(re.findall(rf"['\"]({WORDS})(?: |')", code)) & (words | header.errors) | set(
        re.findall(rf"error_reply\('({WORDS})", code)
    )
    if used != header.errors:
        found.append(f"errors: the header says {header.errors}, the body {used}")
    if not header.errors <= words:
        found.append(f"unknown error words: {header.errors - words}")
    if header.writes is None or header.writes == ("no-writes" in header.flags):
        found.append("WRITES does not agree with the flags")
    if re.search(r"\b(error|assert)\s*\(", code):
        found.append("error() and assert() change the error word: return redis.error_reply")
    found += _globals(body)
    return found


def _bindings(header: Header, code: str) -> list[str]:
    """Faults of the first lines: they bind each key and argument to its name in the header."""
    found = []
    first = code.lstrip().splitlines()[0]
    names = [name for name, _ in header.keys]
    bound = re.match(r"local ([\w, ]+) = (.+)$", first)
    expected = ", ".join(f"KEYS[{i + 1}]" for i in range(len(names)))
    if names and (not bound or bound[2] != expected or bound[1].split(", ") != names):
        found.append(f"the first line must bind KEYS to {names}")
    for kind, count in (("KEYS", len(names)), ("ARGV", len(header.args))):
        numbers = {int(each) for each in re.findall(rf"\b{kind}\[(\d+)\]", code)}
        if numbers and max(numbers) > count:
            found.append(f"{kind}[{max(numbers)}] is not declared")
    named = header.args[:-1] if header.open_ended else header.args
    got = _arguments_bound(code)
    wanted = [(number, LOCAL_NAMES.get(name, name)) for number, name in enumerate(named, 1)]
    if got != wanted:
        found.append(f"the first lines must bind ARGV to {wanted}, not {got}")
    return found


def _arguments_bound(code: str) -> list[tuple[int, str]]:
    """Number and local name of each argument, from the lines after the one that binds KEYS."""
    bound: list[tuple[int, str]] = []
    for line in code.lstrip().split("\n\n")[0].splitlines()[1:]:
        statement = re.match(r"local ([\w, ]+) = (.+)$", line)
        if not statement:
            break
        names = statement[1].split(", ")
        if spread := re.fullmatch(r"unpack\(ARGV, (\d+), (\d+)\)", statement[2]):
            numbers = list(range(int(spread[1]), int(spread[2]) + 1))
        else:
            numbers = [int(each) for each in re.findall(r"\bARGV\[(\d+)\]", statement[2])]
        if len(names) != len(numbers):
            break
        bound += zip(numbers, names, strict=True)
    return bound


def _globals(body: str) -> list[str]:
    """Globals that a script must not use, or the error of the compiler."""
    try:
        used = globals_of(body)
    except SyntaxError as error:
        return [str(error)]
    return [f"writes the global {name}" for name in sorted(used.written)] + [
        f"reads the unknown global {name}" for name in sorted(used.read - KNOWN_GLOBALS)
    ]
