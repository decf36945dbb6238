"""What tests that lose servers have counted, as a table."""

from __future__ import annotations

from dataclasses import dataclass, field

from tabulate import tabulate

HEADS = ("server", "durability", "fault", "sends", "missing", "commits", "missing")


@dataclass
class Losses:
    """Rows of counts: how many sends and commits were acknowledged, how many of these are lost."""

    rows: list[tuple[str | int, ...]] = field(default_factory=list)

    def note(
        self, where: tuple[str, str, str], sends: tuple[int, int], commits: tuple[int, int]
    ) -> None:
        """One row: server, durability and fault; then acknowledged and found, of each."""
        counts = [
            n
            for acknowledged, found in (sends, commits)
            for n in (acknowledged, max(0, acknowledged - found))
        ]
        self.rows.append((*where, *counts))

    def table(self) -> str:
        """All rows, those of a server together."""
        rows = sorted(self.rows, key=lambda row: row[0])
        return tabulate(rows, HEADS, tablefmt="github")
