"""What a built site contains: its pages, their anchors and links, and what they load."""

from __future__ import annotations

import posixpath
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.site.pages import ROOT

#: Runs MkDocs in a process that cannot open a connection.
_WITHOUT_NETWORK = """
import sys


def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise OSError(f"the build asks for the network: {event} {arguments[1:]}")


sys.addaudithook(refuse)
from mkdocs.__main__ import cli

cli()
"""


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    """Build the site into a folder, as scripts/docs does, but without a network."""
    return subprocess.run(
        [sys.executable, "-c", _WITHOUT_NETWORK, "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={"PATH": "", "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


@dataclass
class Page(HTMLParser):
    """One page, by its path in the site."""

    path: str
    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "id" in given:
            self.anchors.add(given["id"])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and given.get("rel") not in ("canonical", "next", "prev"):
            self.loads.append(given["href"])
        self.loads += [given[name] for name in ("src", "srcset") if name in given]

    def leads_to(self, link: str) -> tuple[str, str]:
        """The path in the site that a link leads to, and the anchor there."""
        parts = urlsplit(link)
        if not parts.path:
            return self.path, unquote(parts.fragment)
        base = "" if parts.path.startswith("/") else posixpath.dirname(self.path)
        path = posixpath.normpath(posixpath.join(base, unquote(parts.path).lstrip("/")))
        return "" if path == "." else path, unquote(parts.fragment)


def pages(folder: Path) -> dict[str, Page]:
    """Path of each page in the site -> the page."""
    found = {}
    for file in sorted(folder.rglob("*.html")):
        page = Page(str(file.relative_to(folder)))
        page.feed(file.read_text())
        found[page.path] = page
    return found


def broken(folder: Path, known: dict[str, Page]) -> Iterator[str]:
    """The links inside the site that lead nowhere."""
    for page in known.values():
        for link in page.links:
            if urlsplit(link).scheme:
                continue
            path, anchor = page.leads_to(link)
            if (folder / path).is_dir():
                path = posixpath.join(path, "index.html")
            if not (folder / path).exists():
                yield f"{page.path} links to {link}"
            elif anchor and anchor not in known[path].anchors and anchor != "__skip":
                yield f"{page.path} links to {link}: no such anchor"


def external(known: dict[str, Page]) -> dict[str, set[str]]:
    """Link to another site -> the pages that have it."""
    found: dict[str, set[str]] = {}
    for page in known.values():
        for link in page.links:
            if urlsplit(link).scheme in ("http", "https"):
                found.setdefault(link, set()).add(page.path)
    return found


if __name__ == "__main__":
    for link, where in sorted(external(pages(Path(sys.argv[1]))).items()):
        print(f"{link}  ({', '.join(sorted(where))})")
