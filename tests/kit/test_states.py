"""The Python client finds what others have left in Redis."""

from __future__ import annotations

from pathlib import Path

import pytest

from runnel.conformance.states import TRIALS
from tests.kit.python import broken_by_python


@pytest.mark.soak
@pytest.mark.timeout(240)
def test_python_passes(tmp_path: Path) -> None:
    assert broken_by_python(tmp_path, *TRIALS) == []
