"""What the commands ``runnel lua`` print for people, and rules as JSON. No I/O."""

from __future__ import annotations

import textwrap
from typing import Any

from runnel.cli.tables import table, value_text
from runnel.preflight.roles import Rule

Json = dict[str, Any]


def listed(scripts: list[Json], script_set: str, protocol: int) -> list[str]:
    """The scripts, one in a line."""
    rows = [
        (each["name"], each["sha1"], each["scope"], "yes" if each["writes"] else "no", _of(each))
        for each in scripts
    ]
    head = f"script set {script_set} · protocol {protocol} · {len(scripts)} scripts"
    return [head, "", *table("SCRIPT SHA-1 SCOPE WRITES PURPOSE", rows)]


def _of(script: Json) -> str:
    return str(script["summary"]).rstrip(".")


def verified(seen: Json, url: str) -> list[str]:
    """What a Redis and its workers have."""
    all_ = len(seen["nodes"][0]["loaded"]) + len(seen["nodes"][0]["missing"])
    lines = [
        f"this installation: script set {seen['script_set']} · protocol {seen['protocol']} · "
        f"{all_} scripts",
        f"Redis at {url}:",
    ]
    for node in seen["nodes"]:
        others = f"; {value_text(node['others'])} scripts of other versions or programs"
        lines.append(f"  {node['node']}: {len(node['loaded'])} of {all_} are loaded{others}")
        if node["loaded"] and node["missing"]:
            missing = f"not loaded, until a client calls them: {', '.join(node['missing'])}"
            lines += textwrap.wrap(missing, 96, initial_indent="    ", subsequent_indent="      ")
    if seen["streams"]:
        rows = [
            (f"{each['app']}/{each['name']}", *_protocol(each["protocol"], seen["protocol"]))
            for each in seen["streams"]
        ]
        lines += ["", *table("STREAM PROTOCOL NOTE", rows)]
    members = [
        (
            f"{row['app']}/{row['name']}",
            each["lang"],
            each["version"],
            each["scripts"],
            each["count"],
            _note(each["scripts"], seen["script_set"]),
        )
        for row in seen["processors"]
        for each in row["members"]
    ]
    if members:
        lines += ["", *table("PROCESSOR LANG VERSION SCRIPTS MEMBERS NOTE", members)]
    return lines


def _protocol(stored: int | None, own: int) -> tuple[str, str]:
    if stored is None:
        return "-", "nothing is stored yet"
    return str(stored), "newer than this installation" if stored > own else "ok"


def _note(script_set: str | None, own: str) -> str:
    if script_set is None:
        return "does not say which scripts it calls"
    return "ok" if script_set == own else "other scripts than this installation"


def rule_json(rule: Rule) -> Json:
    """A rule as JSON."""
    return {
        "role": rule.role,
        "user": rule.user,
        "commands": list(rule.commands),
        "keys": list(rule.keys),
        "channels": list(rule.channels),
        "rule": rule.text(),
    }
