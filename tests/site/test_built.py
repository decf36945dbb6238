"""The site builds without a network, its links hold, and readers load nothing from elsewhere."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.site import timelines
from tests.site.built import Page, broken, build, external, pages
from tests.site.pages import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The site, built once."""
    folder = tmp_path_factory.mktemp("site")
    done = build(folder)
    assert done.returncode == 0, done.stderr
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def known(site: Path) -> dict[str, Page]:
    """Its pages."""
    return pages(site)


def test_each_link_inside_the_site_leads_somewhere(site: Path, known: dict[str, Page]) -> None:
    assert not list(broken(site, known))


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/index.html").write_text('<h1 id="top"></h1><a href="../b/#top"></a>')
    assert list(broken(tmp_path, pages(tmp_path))) == ["a/index.html links to ../b/#top"]
    (tmp_path / "b").mkdir()
    (tmp_path / "b/index.html").write_text('<h1 id="end"></h1><a href="#end"></a>')
    assert list(broken(tmp_path, pages(tmp_path))) == [
        "a/index.html links to ../b/#top: no such anchor"
    ]


def test_a_reader_loads_nothing_from_elsewhere(site: Path, known: dict[str, Page]) -> None:
    """No font, no script and no picture: the site works in a network of its own."""
    for page in known.values():
        assert page.loads
        assert not [each for each in page.loads if urlsplit(each).netloc], page.path
        there = {each: site / page.leads_to(each)[0] for each in page.loads if each[:5] != "data:"}
        assert not [each for each, path in there.items() if not path.is_file()], page.path
        text = (site / page.path).read_text()
        assert 'class="mermaid"' not in text, "its program would be fetched from elsewhere"
    for sheet in site.rglob("*.css"):
        assert "url(http" not in sheet.read_text(), sheet.name


def test_links_to_other_sites_are_encrypted(known: dict[str, Page]) -> None:
    """Nobody fetches them here: `scripts/docs --links` lists them."""
    found = external(known)
    assert len(found) > 5
    assert not [each for each in found if not each.startswith(("https://", "http://127.0.0.1"))]


def test_a_search_finds_each_page(site: Path, known: dict[str, Page]) -> None:
    documents = json.loads((site / "search/search_index.json").read_text())["docs"]
    found = {each["location"].partition("#")[0] for each in documents}
    wanted = {path.removesuffix("index.html") for path in known} - {"404.html"}
    assert wanted <= found
    assert any("quarantine" in each["text"].lower() for each in documents)


def test_the_pages_have_their_drawings_and_files(site: Path) -> None:
    assert "<svg" in (site / "index.html").read_text()
    bank = (site / "files/examples/bank.py/index.html").read_text()
    assert "payments change balances" in bank
    first = Page("index.html")
    first.feed((site / "index.html").read_text())
    assert "guide/" in first.links
    assert not [each for each in first.links if each.endswith(".md")]


@pytest.mark.parametrize("name", timelines.ALL)
def test_a_drawing_is_up_to_date(name: str) -> None:
    file = timelines.FOLDER / f"{name}.svg"
    assert file.read_text() == timelines.ALL[name]().svg(), "run python -m tests.site.timelines"


def test_the_site_has_each_colour_of_the_drawings_in_both_schemes() -> None:
    sheet = (ROOT / "docs/assets/site.css").read_text()
    drawn = "".join(file.read_text() for file in timelines.FOLDER.glob("*.svg"))
    used = set(re.findall(r"var\((--\w+)\)", drawn))
    assert len(used) > 5
    for scheme in (":root {", '[data-md-color-scheme="slate"] {'):
        block = sheet.partition(scheme)[2].partition("}")[0]
        assert not {each for each in used if f"{each}:" not in block}, scheme
