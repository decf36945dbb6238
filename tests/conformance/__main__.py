"""Writes the files of ``lua/conformance``: run ``scripts/lua-conformance``.

With ``--check`` it writes nothing, and fails if a file is not what is defined here.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tests.conformance import scenarios, transcripts
from tests.conformance.vectors import FILES, FOLDER, text_of

#: Their bytes depend on the version of a compressor, so only the names of its lines are compared.
_ENTRIES = "entries.jsonl"


def texts() -> dict[str, str]:
    """The text of each file."""
    found = {name: text_of(make()) for name, make in FILES.items()}
    found["transcripts.jsonl"] = "".join(each.text() for each in transcripts.cases())
    found["scenarios.jsonl"] = "".join(each.text() for each in scenarios.cases())
    return found


def _comparable(name: str, text: str) -> object:
    if name != _ENTRIES:
        return text
    return [json.loads(line)["name"] for line in text.splitlines()]


def main(arguments: list[str] | None = None, where: Path = FOLDER) -> None:
    """Write the files, or compare them."""
    parser = argparse.ArgumentParser(prog="scripts/lua-conformance", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if one differs")
    check = parser.parse_args(arguments).check
    for name, text in texts().items():
        path = where / name
        if not check:
            path.write_text(text)
        elif not path.exists() or _comparable(name, path.read_text()) != _comparable(name, text):
            sys.exit(f"lua/conformance/{name} is not what is defined: run scripts/lua-conformance")


if __name__ == "__main__":
    main()
