"""Drawings: an SVG file becomes part of its page, so that it has the colours of the page."""

from __future__ import annotations

import posixpath
import re

from tests.site.pages import ROOT, file_of

_IMAGE = re.compile(r"^!\[([^\]]*)\]\(([^)\s]+\.svg)\)$", re.M)
_STYLE = re.compile(r"<style>.*?</style>\s*", re.S)


def inlined(text: str, page: str) -> str:
    """The text of a page with its drawings in it. In a file of its own, a drawing follows the
    system's choice of light or dark; on the site, that of the reader."""

    def replaced(match: re.Match[str]) -> str:
        alt, target = match.groups()
        file = posixpath.normpath(posixpath.join(posixpath.dirname(file_of(page)), target))
        svg = _STYLE.sub("", (ROOT / file).read_text()).strip()
        svg = re.sub(r"\n\s*", "", svg)
        return f'<figure class="drawing" role="img" aria-label="{alt}">{svg}</figure>'

    return _IMAGE.sub(replaced, text)
