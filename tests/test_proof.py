"""The model of claim, commit and failover is proved with epoch and nonce, and broken without."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MISSING = [tool for tool in ("spin", "gcc") if shutil.which(tool) is None]

pytestmark = [
    pytest.mark.skipif(
        bool(MISSING),
        reason=f"no {' and no '.join(MISSING)} here; on Debian: apt-get install spin gcc libc6-dev",
    ),
    pytest.mark.timeout(300),
]


def prove(root: Path) -> subprocess.CompletedProcess[str]:
    """Run scripts/prove of the repository at `root`."""
    return subprocess.run([root / "scripts" / "prove"], capture_output=True, text=True, check=False)


def test_s1_s2_epoch_and_nonce_are_safe_across_a_failover_and_an_epoch_alone_is_not() -> None:
    run = prove(ROOT)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0].startswith("proved      epoch and nonce: holds in all ")
    assert any(line.startswith("broken      an epoch alone, as it must be") for line in lines)
    assert any(line.startswith("broken      no compare-and-set, as it must be") for line in lines)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "primary.epoch == token.epoch && primary.nonce == token.nonce",
            "primary.epoch == token.epoch",
            "NOT PROVED  epoch and nonce",
        ),
        ("#ifdef EPOCH_ONLY\n", "#ifdef NEVER\n", "NOT BROKEN  an epoch alone"),
        ("#ifdef NO_CAS\n", "#ifdef NEVER\n", "NOT BROKEN  no compare-and-set"),
    ],
)
def test_a_model_without_the_expected_result_fails_the_run(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    for part in ("scripts/prove", "proof/fencing.pml"):
        (tmp_path / part).parent.mkdir()
        shutil.copy(ROOT / part, tmp_path / part)
    model = tmp_path / "proof" / "fencing.pml"
    text = model.read_text()
    assert old in text
    model.write_text(text.replace(old, new))
    run = prove(tmp_path)
    assert run.returncode == 1, run.stdout
    assert message in run.stderr
