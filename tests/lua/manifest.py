"""Generates ``lua/manifest.json``: what the headers of the scripts say, for programs.

``scripts/lua-manifest`` writes it, and with ``--check`` only compares it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

from runnel.codec.partitioning import XXH64
from runnel.connection.versions import OLDEST
from runnel.preflight.acl import commands_in
from runnel.protocol.scripts import PROTOCOL, folder, sources, version

MANIFEST = folder() / "manifest.json"
#: A line of a header that begins a statement, and one that goes on with it.
_LINE = re.compile(
    r"-- (KEYS|ARGV|REPLY|ERROR|PUBLISHES|REPEAT|WRITES|BOUND|VERSION)(?:\[(\d+\+?)\])? +(.+)$"
)
_MORE = re.compile(r"--  +(.+)$")
#: What a repeat of a call does: nothing, because the script only reads; nothing that matters; or it
#: is recognised by arguments or keys. Behind the colon is what it replies.
REPEAT = re.compile(r"(?:(reads|harmless)|recognised by ((?:\w+, )*\w+)): (.+)", re.S)
#: The types of keys that are not in KEYS of any script by themselves.
_TYPES = {
    "parked": "stream",
    "outbox": "stream",
    "log": "stream",
    "expiry": "zset",
    "postponed": "zset",
}
_RANGE = re.compile(r"\b(\d+) to (\d+)\b")
_LONGEST = re.compile(r"at most (\d+)(?: bytes|$)")


def statements(name: str, source: str) -> list[tuple[str, str, str]]:
    """The statements of a header: kind, number (such as ``3`` or ``8+``, else empty) and text. The
    first one is the summary."""
    lines = source.splitlines()
    found = [("SUMMARY", "", lines[1].removeprefix(f"-- {name} -- "))]
    for line in lines[2:]:
        if begins := _LINE.match(line):
            found.append((begins[1], begins[2] or "", begins[3]))
        elif more := _MORE.match(line):
            kind, number, text = found.pop()
            found.append((kind, number, f"{text}\n{more[1]}"))
        else:
            break
    return found


def _named(text: str) -> dict[str, Any]:
    """A name, a type and what it means."""
    name, kind, meaning = re.split(r" +", text, maxsplit=2)
    return {"name": name, "type": kind, "text": meaning}


def _limits(text: str, of: str) -> dict[str, Any]:
    """The unit and the limits of an argument, as far as its text states them. They are limits `of`
    its value, its length or the number of its items."""
    found: dict[str, Any] = {}
    if re.search(r"\bms\b", text):
        found["unit"] = "ms"
    if limits := _RANGE.search(text):
        found[f"min{of}"], found[f"max{of}"] = int(limits[1]), int(limits[2])
    if longest := _LONGEST.search(text):
        found["max_length"] = int(longest[1])
    return found


def _argument(number: str, text: str) -> dict[str, Any]:
    made = _named(text)
    if "+" in number:
        return {**made, "repeated": True, **_limits(made["text"], "_items")}
    return {**made, **_limits(made["text"], "" if made["type"] == "int" else "_length")}


def _key(number: str, text: str) -> dict[str, Any]:
    made = _named(text)
    if "+" not in number:
        return {"name": made["name"], "type": made["type"], "pattern": made["text"]}
    patterns = [
        {"type": _type_of(pattern), "pattern": pattern}
        for pattern in re.findall(r"runnel:[^\s;,]+", made["text"])
    ]
    return {**made, "patterns": patterns, "repeated": True}


def _type_of(pattern: str) -> str:
    """The type of one of several keys."""
    words = pattern.rpartition("}:STREAM:")[2].split(":")
    return _TYPES.get("expiry" if words[-1] == "expiry" else words[0], "hash")


def _idempotence(text: str, names: set[str]) -> dict[str, Any]:
    """What a repeat of a call does and replies."""
    found = REPEAT.fullmatch(text)
    by = found[2].split(", ") if found and found[2] else []
    if not found or not names.issuperset(by):
        raise ValueError(
            f"REPEAT must be `reads: …`, `harmless: …`, `recognised by …: …`, not {text}"
        )
    return {"kind": found[1] or "recognised", "by": by, "text": found[3]}


def _error(text: str) -> dict[str, str]:
    word, meaning = re.split(r" +", text, maxsplit=1)
    return {"word": word, "text": meaning}


def _scope(keys: list[dict[str, Any]]) -> str:
    """What the hash tag of the keys names: a partition, a group, an app; ``none`` without keys."""
    if not keys:
        return "none"
    tag = re.search(r"\{([^}]*)\}", keys[0]["pattern"])
    assert tag is not None, keys
    return {"APP:SOURCE:N": "partition", "APP:STREAM@PROCESSOR": "group", "APP": "app"}[tag[1]]


def described(name: str, source: bytes) -> dict[str, Any]:
    """What the header of one script says."""
    text = source.decode()
    first = text.splitlines()[0]
    parts = statements(name, text)

    def of(kind: str) -> list[tuple[str, str]]:
        return [(number, rest) for each, number, rest in parts if each == kind]

    def one(kind: str) -> str:
        found = of(kind)
        if len(found) != 1:
            raise ValueError(f"{name}.lua: the header must have one line {kind}")
        return found[0][1]

    keys = [_key(*each) for each in of("KEYS")]
    args = [_argument(*each) for each in of("ARGV")]
    return {
        "name": name,
        "file": f"{name}.lua",
        "sha1": hashlib.sha1(source, usedforsecurity=False).hexdigest(),
        "summary": one("SUMMARY"),
        "flags": [each for each in first.partition("flags=")[2].split(",") if each],
        "scope": _scope(keys),
        "writes": one("WRITES") == "yes",
        "keys": keys,
        "args": args,
        "replies": [_named(rest) for _, rest in of("REPLY")],
        "errors": [_error(rest) for _, rest in of("ERROR")],
        "commands": list(commands_in(text)),
        "publishes": [rest for _, rest in of("PUBLISHES")],
        "idempotence": _idempotence(one("REPEAT"), {each["name"] for each in (*keys, *args)}),
        "bound": one("BOUND"),
        "version": int(one("VERSION")),
    }


def generate() -> str:
    """The text of the manifest."""
    made = {
        "protocol": PROTOCOL,
        "hash": XXH64().name,
        "script_set": version(),
        "servers": {kind: ".".join(map(str, oldest)) for kind, oldest in OLDEST.items()},
        "scripts": [described(name, source) for name, source in sources().items()],
    }
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def main(arguments: list[str] | None = None, manifest: Path = MANIFEST) -> None:
    """Write the manifest, or compare it."""
    parser = argparse.ArgumentParser(prog="scripts/lua-manifest", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if it differs")
    check = parser.parse_args(arguments).check
    text = generate()
    if not check:
        manifest.write_text(text)
    elif not manifest.exists() or manifest.read_text() != text:
        sys.exit("lua/manifest.json is not what the headers say: run scripts/lua-manifest")


if __name__ == "__main__":
    main()
