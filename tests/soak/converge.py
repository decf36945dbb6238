"""Measures how long partitions are unassigned after a kill and after a clean leave (L1)."""

from __future__ import annotations

import asyncio
import signal
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.soak.app import SESSION, SETBACK
from tests.soak.cast import Cast
from tests.soak.checker import check
from tests.soak.history import read_history
from tests.soak.stage import Stage
from tests.soak.watch import PROCESSORS, REMINDER, SECOND, SETBACK_OF, TOGETHER, Watch

#: Seconds: a session and two heartbeats after a kill; after a leave no session has to end.
BOUNDS = {"kill": SESSION * 5 / 3, "leave": SESSION * 2 / 3}
WORKERS = 3
_TIMEOUT = 30.0


class DelayMeter:
    """Measures how late this process runs, on a machine that other programs use too."""

    #: The most seconds that a tick was late.
    latest = 0.0

    async def run(self, every: float = 0.01) -> None:
        """Tick until cancelled."""
        while True:
            due = time.monotonic() + every
            await asyncio.sleep(every)
            self.latest = max(self.latest, time.monotonic() - due)


async def converge(
    times: int, stage: Stage, folder: Path, rate: float, say: Callable[[str], None]
) -> bool:
    """Kill a worker, then stop one cleanly, `times` times under load. True if all were in time."""
    environment = {"RUNNEL_REDIS_URL": stage.url, "SOAK_SESSION": str(SESSION)}
    cast = Cast(folder, environment, None)
    watch = Watch(stage.url)
    durations: dict[str, list[float | None]] = {how: [] for how in BOUNDS}
    delay_meter = DelayMeter()
    ticker = asyncio.create_task(delay_meter.run())
    try:
        await asyncio.gather(*(cast.worker() for _ in range(WORKERS)))
        producer = await cast.producer(rate, 1_000_000_000)
        for number in range(1, times + 1):
            for how, samples in durations.items():
                await _wait_until_balanced(watch)
                victim = cast.living[number % WORKERS]
                delay_meter.latest = 0.0
                victim.signal(signal.SIGKILL if how == "kill" else signal.SIGTERM)
                ended = victim.name
                seconds = await watch.until(lambda: watch.owned(but=ended), _TIMEOUT, 0.002)  # noqa: B023
                samples.append(seconds)
                if seconds is None or seconds > BOUNDS[how]:
                    say(
                        f"{how} {number} of {victim.name} is outside the bound: {seconds} s; this "
                        f"process itself was up to {delay_meter.latest:.3f} s late in that time"
                    )
                await victim.ended(_TIMEOUT)
                await cast.worker()
            if number % 10 == 0:
                say(f"{number} of each")
        producer.signal(signal.SIGTERM)
        await producer.ended(_TIMEOUT)
        await watch.until(watch.caught_up, _TIMEOUT)
        tables = await watch.tables()
    finally:
        ticker.cancel()
        await watch.close()
        await cast.close()
    history = read_history(folder, PROCESSORS, watch.looks)
    history.second, history.tables, history.together = SECOND, tables, TOGETHER
    history.reminder = REMINDER
    history.setback, history.setback_every = SETBACK_OF, SETBACK
    verdict = check(history, strict=PROCESSORS, budget=100)
    for how, samples in durations.items():
        say(spread(f"after a {how}", samples, BOUNDS[how]))
    for each in verdict.violations:
        say(f"VIOLATION    {each}")
    return not verdict.violations and all(
        seconds is not None and seconds <= BOUNDS[how]
        for how, samples in durations.items()
        for seconds in samples
    )


async def _wait_until_balanced(watch: Watch) -> None:
    if await watch.until(lambda: watch.balanced(WORKERS), _TIMEOUT) is None:
        raise AssertionError(f"{WORKERS} workers do not share the partitions evenly")


def spread(what: str, times: Sequence[float | None], bound: float | None = None) -> str:
    """The distribution of `times` in one line."""
    measured = sorted(each for each in times if each is not None)
    never = len(times) - len(measured)
    if not measured:
        return f"{what}: never, {never} times"
    rank = (
        [statistics.quantiles(measured, n=100)[p - 1] for p in (50, 90, 99)]
        if measured[1:]
        else measured
    )
    text = f"{what}: {len(times)} times, median {rank[0]:.3f} s, longest {measured[-1]:.3f} s"
    if len(rank) > 1:
        text += f", 90 % within {rank[1]:.3f} s, 99 % within {rank[2]:.3f} s"
    if bound is not None:
        outside = never + sum(each > bound for each in measured)
        text += f"; bound {bound:.3f} s, outside: {outside}"
    return text + (f"; never: {never}" if never else "")
