"""Results as text, as JSON and as Markdown."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.children import ROOT
from benchmarks.rows import Row
from benchmarks.targets import DISTURBED, Verdict
from runnel.embedded.binary import Binary

_PACKAGES = ("redis", "hiredis", "uvloop", "msgpack", "msgspec", "pydantic", "orjson", "lz4")


def machine(binary: Binary) -> dict[str, Any]:
    """The machine, the versions and the commit of this run."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "--short", "HEAD"),
        "changed": bool(_git("status", "--porcelain", "--", "runnel", "lua", "benchmarks")),
        "cores": os.cpu_count(),
        "cpu": _cpu(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "server": str(binary),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
    }


def heading(about: dict[str, Any]) -> str:
    """The same in two lines."""
    packages = " ".join(f"{name} {found}" for name, found in about["packages"].items())
    changed = " with changes" if about["changed"] else ""
    return (
        f"commit {about['commit']}{changed} · {about['cpu']}, {about['cores']} cores · "
        f"python {about['python']} · {about['server']}\n{packages}"
    )


def line(row: Row) -> str:
    """A row as it is printed: median, spread, ratio and further figures."""
    text = f"{row.title:<48} {_number(row.median):>10} {row.unit:<10} {_spread(row.values):<19}"
    if row.ratio is not None:
        text += f" {_ratio(row.ratio):>6} of {row.reference} ({_range(row.ratios)})"
    if row.to_old is not None:
        text += f"; {_ratio(row.to_old)} of the old, {_number(statistics.median(row.old))}"
    if row.details:
        text += "  " + _details(row)
    if row.note:
        text += f"  {row.note}"
    return text


def _details(row: Row) -> str:
    names = {
        "calls": "calls {:.3f}",
        "worker_us": "worker {:.1f} µs",
        "server_us": "server {:.2f} µs",
        "client_us": "client {:.1f} µs",
    }
    shown = [names[key].format(row.details[key]) for key in names if key in row.details]
    shown += [
        f"{key} {_number(value)}"
        for key, value in row.details.items()
        if key not in names and key != "other_load"
    ]
    if row.details.get("other_load", 0) > DISTURBED:
        shown.append(f"others {row.details['other_load']:.1f} cores *")
    return " · ".join(shown)


def verdicts(judged: Sequence[Verdict]) -> str:
    """The targets, met or missed."""
    lines = []
    for each in judged:
        bound = f"{'≥' if each.target.at_least else '≤'} {_number(each.target.bound)}"
        figure = "" if each.figure is None else _number(each.figure)
        lines.append(f"{each.target.title:<66} {bound:>9} {figure:>9}  {each.word}")
    return "\n".join(lines)


def save(
    path: Path,
    about: dict[str, Any],
    rows: Sequence[Row],
    judged: Sequence[Verdict],
    failed: dict[str, str],
) -> None:
    """Write everything as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "machine": about,
        "left out": failed,
        "rows": [
            {
                **asdict(row),
                "median": row.median,
                "spread": [min(row.values), max(row.values)],
                "ratio": row.ratio,
                "to old": row.to_old,
            }
            for row in rows
        ],
        "targets": [
            {
                "title": each.target.title,
                "row": each.target.row,
                "bound": each.target.bound,
                "at_least": each.target.at_least,
                "figure": each.figure,
                "verdict": each.word,
            }
            for each in judged
        ],
    }
    path.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


def comparison(rows: Sequence[Row]) -> str:
    """Rows of the other tree and of this one, from the same run."""
    lines = [f"{'old and new, and new to old':<48} {'old':>10} {'new':>10} {'ratio':>8}"]
    for row in rows:
        if row.to_old is not None:
            old, new = _number(statistics.median(row.old)), _number(row.median)
            better = row.to_old > 1 if row.more_is_better else row.to_old < 1
            word = "" if 0.95 <= row.to_old <= 1.05 else "better" if better else "worse"
            lines.append(f"{row.title:<48} {old:>10} {new:>10} {row.to_old:8.2f}  {word}")
    return "\n".join(lines)


def against(path: Path, rows: Sequence[Row]) -> str:
    """This run and the file of an earlier one: ratios to the reference, which both have."""
    earlier = {row["name"]: row for row in json.loads(path.read_text())["rows"]}
    lines = [f"against {path}: ratios to the reference, old, new, new to old"]
    for row in rows:
        old = earlier.get(row.name, {}).get("ratio")
        if old and row.ratio is not None:
            lines.append(f"{row.title:<48} {old:8.2f} {row.ratio:8.2f} {row.ratio / old:8.2f}")
    return "\n".join(lines)


def markdown(path: Path) -> str:
    """The tables of docs/benchmarks.md, from the file of a run."""
    found = json.loads(path.read_text())
    about = found["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in about["packages"].items())
    others = about.get("cores used by others")
    lines = [
        f"{about['at'][:10]}, commit {about['commit']}: {about['cpu']}, {about['cores']} cores, "
        f"{about['server']}, Python {about['python']}, {packages}.",
        *([] if others is None else [f"Other programs used {others} cores on average."]),
        "",
        "| measure | median | from – to | ratio | to |",
        "| --- | ---: | --- | ---: | --- |",
    ]
    for row in found["rows"]:
        ratio = "" if row["ratio"] is None else _ratio(row["ratio"])
        disturbed = " *" if row["details"].get("other_load", 0) > DISTURBED else ""
        lines.append(
            f"| {row['title']}{disturbed} | {_number(row['median'])} {row['unit']} "
            f"| {_spread(row['values'])} | {ratio} | {row['reference']} |"
        )
    lines += ["", "| target | bound | figure | |", "| --- | ---: | ---: | --- |"]
    for target in found["targets"]:
        sign = "≥" if target["at_least"] else "≤"
        figure = "" if target["figure"] is None else _number(target["figure"])
        bound = f"{sign} {_number(target['bound'])}"
        lines.append(f"| {target['title']} | {bound} | {figure} | {target['verdict']} |")
    return "\n".join(lines)


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _spread(values: Sequence[float]) -> str:
    return f"{_number(min(values))} – {_number(max(values))}"


def _range(values: Sequence[float]) -> str:
    return f"{_ratio(min(values))} – {_ratio(max(values))}"


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or sys.platform
    names = [each.partition(":")[2].strip() for each in text.splitlines() if "model name" in each]
    return names[0] if names else platform.machine()
