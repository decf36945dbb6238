"""Handlers of the Python client fail, and end their process."""

from __future__ import annotations

from pathlib import Path

import pytest

from runnel.conformance.failures import TRIALS
from tests.kit.python import broken_by_python


@pytest.mark.soak
@pytest.mark.timeout(240)
def test_python_passes(tmp_path: Path) -> None:
    assert broken_by_python(tmp_path, *TRIALS) == []
