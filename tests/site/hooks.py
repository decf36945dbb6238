"""What MkDocs calls while it builds the site: see mkdocs.yml."""

from __future__ import annotations

import re
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel

from tests.site import drawings, references
from tests.site.pages import OUTSIDE, ROOT, linked, linked_files, shown

#: In place of the diagram of README, which only GitHub draws without fetching a program.
_MERMAID = re.compile(r"^```mermaid\n.*?^```$", re.M | re.S)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are not in docs/."""
    for each in [file for file in files if file.src_uri == "README.md"]:
        files.remove(each)
    for page, source in OUTSIDE.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    for page, content in references.pages().items():
        files.append(File.generated(config, page, content=content))
    wanted: set[str] = set()
    for file in files:
        if file.src_uri.endswith(".md") and not file.src_uri.startswith("reference/"):
            wanted |= linked_files(file.content_string, file.src_uri)
    for path in sorted(wanted):
        made = File.generated(config, f"files/{path}.md", content=shown(path))
        made.inclusion = InclusionLevel.NOT_IN_NAV
        files.append(made)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Make the links of a page hold on the site, and draw its drawings."""
    uri = page.file.src_uri
    if uri.startswith("files/"):
        return markdown
    if uri == "changelog.md":
        page.meta["search"] = {"boost": 0.2}  # It has every word, and explains none.
    text = _MERMAID.sub("![The path of an event](docs/images/overview.svg)", markdown)
    return linked(drawings.inlined(text, uri), uri)
