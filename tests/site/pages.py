"""Where each page of the site comes from, and where a link in it leads."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: Page of the site -> its file, for pages that are not in docs/.
OUTSIDE = {
    "index.md": "README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
    "lua/README.md": "lua/README.md",
    "lua/clients.md": "lua/clients.md",
    "lua/conformance.md": "lua/conformance/README.md",
    "clients/typescript.md": "clients/typescript/README.md",
    "clients/go.md": "clients/go/README.md",
}
#: A page of docs/ that the site replaces by its navigation.
REPLACED = {"docs/README.md": "index.md"}
#: Folders whose files become pages when a page links to them: what readers copy.
SHOWN = ("examples/", "lua/")

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
#: An image in HTML, which may have one for dark screens.
_IMAGE = re.compile(r'(<(?:img|source) [^>]*?src(?:set)?=")([^"\s]+)(")')
_FENCE = re.compile(r"^(?P<fence>```+|~~~+).*?^(?P=fence)\s*$", re.M | re.S)
_LANGUAGES = {
    ".py": "python", ".lua": "lua", ".json": "json", ".yml": "yaml", ".yaml": "yaml", ".sh": "bash",
    ".rb": "ruby", ".php": "php", ".R": "r", ".ini": "ini", ".service": "ini",
}  # fmt: skip


def file_of(page: str) -> str:
    """The file of a page, as a path in the repository."""
    return OUTSIDE.get(page, f"docs/{page}")


def page_of(file: str) -> str | None:
    """The page that shows a file of the repository, or None if the site has none."""
    if file in REPLACED:
        return REPLACED[file]
    for page, its_file in OUTSIDE.items():
        if its_file == file:
            return page
    if file.startswith("docs/") and (ROOT / file).is_file():
        return file.removeprefix("docs/")
    if f"{file}/".startswith(SHOWN) and (ROOT / file).exists() and not file.endswith(".gz"):
        return f"files/{file.rstrip('/')}.md" if file != "lua" else "files/lua.md"
    return None


def linked(text: str, page: str) -> str:
    """The text of a page, with links that hold on the site. One to a file that the site does not
    show, such as a test, becomes plain text: it has its label, which names the file."""

    def replaced(match: re.Match[str]) -> str:
        image, label, target = match.groups()
        path, mark, anchor = target.partition("#")
        if "://" in target or target.startswith("mailto:") or not path:
            return match.group()
        file = posixpath.normpath(posixpath.join(posixpath.dirname(file_of(page)), path))
        found = page_of(file)
        if found is None:
            if not (ROOT / file).exists():
                return match.group()  # The build reports it.
            return label
        relative = posixpath.relpath(found, posixpath.dirname(page) or ".")
        return f"{image}[{label}]({relative}{mark}{anchor})"

    def image(match: re.Match[str]) -> str:
        before, path, after = match.groups()
        found = page_of(posixpath.normpath(posixpath.join(posixpath.dirname(file_of(page)), path)))
        relative = posixpath.relpath(found or path, posixpath.dirname(page) or ".")
        return f"{before}{relative if found else path}{after}"

    return _outside_fences(text, lambda part: _IMAGE.sub(image, _LINK.sub(replaced, part)))


def linked_files(text: str, page: str) -> set[str]:
    """The files of the repository that a page links to and the site shows as pages of their own."""
    found = set()
    for _, _, target in _LINK.findall(_FENCE.sub("", text)):
        path = target.partition("#")[0]
        if "://" in target or not path:
            continue
        file = posixpath.normpath(posixpath.join(posixpath.dirname(file_of(page)), path))
        if (page_of(file) or "").startswith("files/"):
            found.add(file)
    return found


def shown(file: str) -> str:
    """The page of a file, or of all files in a folder, word for word."""
    path = ROOT / file
    files = [path] if path.is_file() else sorted(each for each in path.iterdir() if each.is_file())
    parts = [f"# `{file}`\n"]
    for each in files:
        text = each.read_text()
        fence = "````" if "```" in text else "```"
        language = _LANGUAGES.get(each.suffix, "text")
        title = f"## {each.name}\n\n" if path.is_dir() else ""
        parts.append(f"{title}{fence}{language}\n{text.rstrip()}\n{fence}\n")
    return "\n".join(parts)


def _outside_fences(text: str, change: object) -> str:
    """Change what is no code block."""
    assert callable(change)
    parts, end = [], 0
    for fence in _FENCE.finditer(text):
        parts += [change(text[end : fence.start()]), fence.group()]
        end = fence.end()
    return "".join([*parts, change(text[end:])])
