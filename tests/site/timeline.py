"""Draws timelines: lanes from left to right, with what happens on and between them.

A drawing has no colours of its own but names of colours. In a file of its own, they follow the
system's choice of light or dark; on the site, `docs/assets/site.css` gives them.
"""

from __future__ import annotations

from html import escape

WIDTH, LEFT, TOP, LANE = 760, 118, 20, 62

STYLE = """<style>
  :root { --line: #455a64; --quiet: #90a4ae; --a: #00796b; --b: #5e35b1; --bad: #c62828;
          --good: #2e7d32; --wait: #ef6c00; --paper: #ffffff; }
  @media (prefers-color-scheme: dark) {
    :root { --line: #b0bec5; --quiet: #607d8b; --a: #4db6ac; --b: #b39ddb; --bad: #ef9a9a;
            --good: #a5d6a7; --wait: #ffb74d; --paper: #1e2129; }
  }
  text { font: 12px system-ui, sans-serif; }
  .ground { fill: var(--paper); }
</style>
"""


class Timeline:
    """A drawing in the making. Places along a lane go from 0 to 100."""

    def __init__(self, title: str, *lanes: str) -> None:
        self._title = title
        self._lanes = lanes
        self._height = TOP + LANE * len(lanes) + 6
        self._parts: list[str] = []
        for lane, name in enumerate(lanes):
            y = self._y(lane)
            self._text(8, y + 4, name, "line", weight=600)
            self._line(LEFT, y, WIDTH - 8, y, "quiet", width=1, dash="1 5")

    def holds(self, lane: int, start: float, end: float, colour: str, text: str = "") -> None:
        """A worker holds the partition for a while."""
        x, y = self._x(start), self._y(lane)
        self._parts.append(
            f'<rect x="{x:.0f}" y="{y - 13:.0f}" width="{self._x(end) - x:.0f}" height="26" rx="5" '
            f'style="fill: var(--{colour}); fill-opacity: .16; stroke: var(--{colour})"/>'
        )
        if text:
            self._text(x + 5, y - 18, text, colour)

    def event(self, lane: int, at: float, name: str, colour: str, mark: str = "") -> None:
        """An event is processed: `mark` is ✓, ✗ or nothing."""
        x, y = self._x(at), self._y(lane)
        self._parts.append(
            f'<rect x="{x - 11:.0f}" y="{y - 9:.0f}" width="22" height="18" rx="3" '
            f'style="fill: var(--paper); stroke: var(--{colour}); stroke-width: 1.5"/>'
        )
        self._text(x, y + 4, name, colour, anchor="middle", weight=600)
        if mark:
            self._text(x, y + 24, mark, "bad" if mark == "✗" else "good", anchor="middle")

    def arrow(
        self, start: int, end: int, at: float, text: str, colour: str = "line", *,
        left: bool = False,
    ) -> None:  # fmt: skip
        """A message from lane to lane; its text is right of it, or left."""
        x, y1, y2 = self._x(at), self._y(start), self._y(end)
        down = 1 if y2 > y1 else -1
        y1, y2 = y1 + 14 * down, y2 - 14 * down
        self._line(x, y1, x, y2, colour)
        self._head(x, y2, down, colour)
        side, anchor = (-6, "end") if left else (6, "start")
        self._text(x + side, (y1 + y2) / 2 + 4, text, colour, anchor=anchor)

    def lost(self, start: int, end: int, at: float, text: str) -> None:
        """A message that does not arrive."""
        x, y1, y2 = self._x(at), self._y(start), self._y(end)
        middle = (y1 + y2) / 2
        self._line(x, y1 + (14 if y2 > y1 else -14), x, middle, "bad", dash="3 3")
        self._text(x, middle + 4, "✗", "bad", anchor="middle", weight=700)
        self._text(x + 9, middle + 4, text, "bad")

    def waits(self, lane: int, start: float, end: float, text: str, colour: str = "wait") -> None:
        """Time passes."""
        y = self._y(lane)
        self._line(self._x(start), y, self._x(end), y, colour, dash="6 4")
        self._text(self._x(start) + 4, y - 6, text, colour)

    def note(self, lane: int, at: float, text: str, colour: str = "line", below: int = 0) -> None:
        """A remark on a lane."""
        self._text(self._x(at), self._y(lane) + 4 + below, text, colour)

    def svg(self) -> str:
        """The file."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self._height}" '
            f'font-family="system-ui, sans-serif" font-size="12">\n'
            f"<title>{escape(self._title)}</title>\n{STYLE}"
            f'<rect class="ground" width="{WIDTH}" height="{self._height}" fill="none"/>\n'
            + "\n".join(self._parts)
            + "\n</svg>\n"
        )

    def _x(self, at: float) -> float:
        return LEFT + (WIDTH - LEFT - 20) * at / 100

    def _y(self, lane: int) -> float:
        return TOP + LANE * lane + LANE / 2

    def _line(
        self, x1: float, y1: float, x2: float, y2: float, colour: str, *, width: float = 1.5,
        dash: str = "",
    ) -> None:  # fmt: skip
        dashes = f"; stroke-dasharray: {dash}" if dash else ""
        self._parts.append(
            f'<line x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2:.0f}" '
            f'style="stroke: var(--{colour}); stroke-width: {width}{dashes}"/>'
        )

    def _head(self, x: float, y: float, down: int, colour: str) -> None:
        points = f"{x:.0f},{y:.0f} {x - 4:.0f},{y - 7 * down:.0f} {x + 4:.0f},{y - 7 * down:.0f}"
        self._parts.append(f'<polygon points="{points}" style="fill: var(--{colour})"/>')

    def _text(
        self, x: float, y: float, text: str, colour: str, *, anchor: str = "start",
        weight: int = 400,
    ) -> None:  # fmt: skip
        halo = "; paint-order: stroke; stroke: var(--paper); stroke-width: 3"
        self._parts.append(
            f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" '
            f'style="fill: var(--{colour}); font-weight: {weight}{halo}">{escape(text)}</text>'
        )
