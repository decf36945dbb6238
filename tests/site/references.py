"""The pages that are made from the code: settings, commands, names in Python."""

from __future__ import annotations

from tests.site import api_page, commands_page, settings_page


def pages() -> dict[str, str]:
    """Page of the site -> its text in Markdown."""
    return {
        "reference/settings.md": settings_page.text(),
        "reference/commands.md": commands_page.text(),
        "reference/api.md": api_page.text(),
    }
