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
from runnel.protocol.scripts import PROTOCOL, folder, sources

MANIFEST = folder() / "manifest.json"
#: A line of a header that begins a statement, and one that goes on with it.
_LINE = re.compile(
    r"-- (KEYS|ARGV|REPLY|ERROR|PUBLISHES|WRITES|BOUND|VERSION)(?:\[(\d+\+?)\])? +(.+)$"
)
_MORE = re.compile(r"--  +(.+)$")
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
    patterns = re.findall(r"runnel:[^\s;,]+", made["text"])
    return {**made, "patterns": patterns, "repeated": True}


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

    keys = [_key(*each) for each in of("KEYS")]
    return {
        "name": name,
        "file": f"{name}.lua",
        "sha1": hashlib.sha1(source, usedforsecurity=False).hexdigest(),
        "summary": of("SUMMARY")[0][1],
        "flags": [each for each in first.partition("flags=")[2].split(",") if each],
        "scope": _scope(keys),
        "writes": of("WRITES")[0][1] == "yes",
        "keys": keys,
        "args": [_argument(*each) for each in of("ARGV")],
        "replies": [_named(rest) for _, rest in of("REPLY")],
        "errors": [_error(rest) for _, rest in of("ERROR")],
        "publishes": [rest for _, rest in of("PUBLISHES")],
        "bound": of("BOUND")[0][1],
        "version": int(of("VERSION")[0][1]),
    }


def generate() -> str:
    """The text of the manifest."""
    made = {
        "protocol": PROTOCOL,
        "hash": XXH64().name,
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
