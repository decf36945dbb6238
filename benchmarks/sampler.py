"""A sampling profiler of one process: where its main thread is, a thousand times a second.

Unlike cProfile it does not make Python calls look dearer than they are. Time in C is counted for
the Python line that called it.
"""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

INTERVAL = 0.001


class Sampler:
    """Counts, for each sample, the line that ran and all functions on the stack above it."""

    def __init__(self) -> None:
        self._lines: Counter[tuple[CodeType, int]] = Counter()
        self._functions: Counter[CodeType] = Counter()
        self._total = 0
        # Handlers can be set in the main thread only, so here rather than in `start`.
        signal.signal(signal.SIGALRM, self._sample)

    def start(self) -> None:
        """Sample from now on; from any thread."""
        signal.setitimer(signal.ITIMER_REAL, INTERVAL, INTERVAL)

    def stop(self) -> dict[str, Any]:
        """End, and return the shares: of lines by themselves, of functions with all they call."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        lines: Counter[str] = Counter()
        for (code, number), count in self._lines.items():
            lines[f"{_place(code)}:{number} {code.co_qualname}"] += count
        functions: Counter[str] = Counter()
        for code, count in self._functions.items():
            functions[f"{_place(code)} {code.co_qualname}"] += count
        return {
            "samples": self._total,
            "lines": self._shares(lines),
            # What is on the stack all the time says nothing.
            "functions": [each for each in self._shares(functions) if each[1] < 0.995],
        }

    def _shares(self, counts: Counter[str]) -> list[tuple[str, float]]:
        return [(name, count / max(self._total, 1)) for name, count in counts.most_common(60)]

    def _sample(self, _: int, frame: FrameType | None) -> None:
        if frame is None:
            return
        self._total += 1
        self._lines[frame.f_code, frame.f_lineno] += 1
        seen = set()
        while frame is not None:
            seen.add(frame.f_code)
            frame = frame.f_back
        self._functions.update(seen)


def _place(code: CodeType) -> str:
    """The last two parts of the path."""
    return "/".join(Path(code.co_filename).parts[-2:])
