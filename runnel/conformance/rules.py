"""The numbered duties of a client, as `lua/clients.md` has them, and what breaks one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from runnel.protocol.scripts import folder

_RULE = re.compile(r"^- \*\*([CPW]\d+)\*\* (.*?)(?=^- \*\*|^\S|^$)", re.MULTILINE | re.DOTALL)


@cache
def rules() -> Mapping[str, str]:
    """Number, such as W13 -> its text in one line."""
    text = (folder() / "clients.md").read_text()
    return {number: " ".join(said.split()) for number, said in _RULE.findall(text)}


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, and which rule that breaks: the number of one, `contract` for the contract
    between the kit and the commands, or `outcome` if something is left undone, whatever the reason.
    `evidence` are lines of what was seen. `timed` is whether something did not come in time: on a
    machine that stood still, the command may not be to blame. `alone` is whether
    nothing else need be said that did not come in time."""

    rule: str
    text: str
    evidence: tuple[str, ...] = ()
    timed: bool = False
    alone: bool = False
