"""The messages and the docs name the oldest servers that Runnel works with."""

from __future__ import annotations

from pathlib import Path

import pytest

from runnel.connection.versions import OLDEST
from runnel.errors import ServerError
from runnel.preflight.server import server_info

ROOT = Path(__file__).parent.parent.parent


def needed() -> str:
    """The versions as the docs name them."""
    return " or ".join(f"{kind.title()} {major}.{minor}" for kind, (major, minor) in OLDEST.items())


@pytest.mark.parametrize("page", ["README.md", "docs/deployments.md", "docs/guide.md"])
def test_a_page_that_says_what_is_needed_names_these_versions(page: str) -> None:
    assert needed() in (ROOT / page).read_text()


@pytest.mark.parametrize("kind", OLDEST)
def test_the_oldest_is_accepted_and_an_older_one_refused_with_both_named(kind: str) -> None:
    major, minor = OLDEST[kind]
    field = f"{kind}_version"
    assert server_info({field: f"{major}.{minor}.0"}, "It").version == f"{major}.{minor}.0"
    with pytest.raises(ServerError, match=f"which is too old: Runnel needs {needed()}"):
        server_info({field: f"{major - 1}.9.9"}, "It")
