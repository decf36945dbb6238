"""The Python client keeps the rules. Its workers are judged in the trial `mixed` of the TypeScript
client, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.python import broken_by_python

#: Those that no other test of the Python client is like.
CHOSEN = ("codecs", "session-clock", "twins", "lost-replies", "mute", "loss", "lost-keys")


@pytest.mark.soak
@pytest.mark.timeout(240)
@pytest.mark.fault(3, 18)
def test_python_passes(tmp_path: Path) -> None:
    assert broken_by_python(tmp_path, *CHOSEN) == []
