"""The documentation is true: its code runs, its links and lists are right."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from runnel import App
from runnel.settings import Settings

ROOT = Path(__file__).parent.parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), ROOT / "lua/README.md"]


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)


async def test_the_guide_runs_from_top_to_bottom() -> None:
    names: dict[str, Any] = {"__name__": "guide"}
    for block in blocks(ROOT / "docs/guide.md", "python"):
        exec(compile(block, "guide.md", "exec", dont_inherit=True), names)
    app = names["app"]
    assert isinstance(app, App)
    own = {"archive", "mail", "add_up", "compare", "remind", "collect", "trace", "pay_out"}
    assert set(app.processors) == own | {
        "billing",
        "complaints",
        "timed",
        "ledger",
        "checked",
        "webhooks",
    }
    assert set(app.tables) == {"totals", "limits", "totals_sent", "paid_out"}
    assert set(app.tasks) == {"refresh", "close_books", "warm_up"}
    await names["test_totals_are_added_up"]()


async def test_the_tests_on_the_page_about_tests_pass() -> None:
    names: dict[str, Any] = {"__name__": "testing"}
    *own, with_server = blocks(ROOT / "docs/testing.md", "python")
    assert with_server == (ROOT / "examples/shop/test_shop_with_server.py").read_text()
    for block in own:
        exec(compile(block, "testing.md", "exec", dont_inherit=True), names)
    tests = [each for name, each in names.items() if name.startswith("test_")]
    assert len(tests) == 5
    for each in tests:
        await each()


def test_the_first_example_of_the_readme_is_the_one_in_examples() -> None:
    first = blocks(ROOT / "README.md", "python")[0]
    assert first == (ROOT / "examples/example.py").read_text()


def test_the_guide_lists_every_setting_with_its_default_and_reason() -> None:
    guide = (ROOT / "docs/guide.md").read_text()
    rows = [
        f"| `{name}` | `{field.default}` | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    assert "\n".join(rows) in guide


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_inside_the_repository_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
