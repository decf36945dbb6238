"""What the members of one group run, and whether that differs. No I/O.

A member says what it runs when it joins: language, version of its client, and script set. A word
that it does not say is None, and differs from nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

Json = dict[str, Any]

_SCRIPT_SET = re.compile("[0-9a-f]{7,40}")
#: Language, version of the client, and script set.
Version = tuple[str | None, str | None, str | None]


def described(description: str) -> Json:
    """What a member says in its description: host, process id, language, version of its client and
    script set. What it does not say, or says as ``-``, is None."""
    words = [each if each.strip("-") else "" for each in description.split()] + [""] * 5
    return {
        "host": words[0] or None,
        "pid": int(words[1]) if words[1].isdecimal() else None,
        "lang": words[2] or None,
        "version": words[3] or None,
        "scripts": words[4] if _SCRIPT_SET.fullmatch(words[4]) else None,
    }


def versions(members: Iterable[Json]) -> Counter[Version]:
    """What the members run -> how many of them run it."""
    return Counter((each["lang"], each["version"], each["scripts"]) for each in members)


def mixed(members: Iterable[Json]) -> bool:
    """Do they have different script sets, or different versions of the client of one language?"""
    found = versions(members)
    scripts = {each[2] for each in found} - {None}
    clients = {each[:2] for each in found if None not in each[:2]}
    return len(scripts) > 1 or len({lang for lang, _ in clients}) < len(clients)
