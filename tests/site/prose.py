"""Text of docstrings and help as Markdown."""

from __future__ import annotations

import re

_CODE = re.compile(r"(``.+?``|`[^`]+`)", re.S)
#: An option in a sentence, which must not be broken at its dashes.
_OPTION = re.compile(r"(?<![\w`-])(--[a-z][a-z-]*)")
_SPECIAL = re.compile(r"([*_<>|\[\]#])")


def prose(text: str) -> str:
    """Plain text with code in backquotes as Markdown: what would be markup is shown as it is."""
    parts = _CODE.split(text)
    for n, part in enumerate(parts):
        if n % 2 == 0:
            parts[n] = _OPTION.sub(r"`\1`", _SPECIAL.sub(r"\\\1", part))
    return "".join(parts)


def docstring(text: str) -> str:
    """A docstring as Markdown: paragraphs, lists and indented code stay what they are."""
    blocks = re.split(r"\n\n+", text.strip())
    return "\n\n".join(each if each.startswith("    ") else prose(each) for each in blocks)


def cell(text: str) -> str:
    """A text for a cell of a table, where code may have a bar."""
    return text.replace("\n", " ").replace("|", "\\|")
