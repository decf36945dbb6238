"""A sampling profiler of one process: where its main thread is, a thousand times a second.

Unlike cProfile it does not make Python calls look dearer than they are. Time in C is counted for
the Python line that called it.
"""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

INTERVAL = 0.001


class Sampler:
    """Counts, for each sample, the line that ran and all functions on the stack above it."""

    def __init__(self) -> None:
        self._lines: Counter[str] = Counter()
        self._functions: Counter[str] = Counter()
        self._total = 0
        # Handlers can be set in the main thread only, so here rather than in `start`.
        signal.signal(signal.SIGALRM, self._sample)

    def start(self) -> None:
        """Sample from now on; from any thread."""
        signal.setitimer(signal.ITIMER_REAL, INTERVAL, INTERVAL)

    def stop(self) -> dict[str, Any]:
        """End, and return the shares: of lines by themselves, of functions with all they call."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        return {
            "samples": self._total,
            "lines": _shares(self._lines, self._total),
            "functions": _shares(self._functions, self._total),
        }

    def _sample(self, _: int, frame: FrameType | None) -> None:
        if frame is None:
            return
        self._total += 1
        code = frame.f_code
        self._lines[f"{_place(code.co_filename)}:{frame.f_lineno} {code.co_qualname}"] += 1
        seen = set()
        while frame is not None:
            code = frame.f_code
            seen.add(f"{_place(code.co_filename)} {code.co_qualname}")
            frame = frame.f_back
        self._functions.update(seen)


def _place(filename: str) -> str:
    """The last two parts of the path."""
    return "/".join(Path(filename).parts[-2:])


def _shares(counts: Counter[str], total: int) -> list[tuple[str, float]]:
    return [(name, count / max(total, 1)) for name, count in counts.most_common(40)]
