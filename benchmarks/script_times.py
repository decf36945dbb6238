"""A process that times the Lua scripts that its command line names, each on an empty server."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from redis import Redis

from benchmarks import (  # noqa: F401 - They fill the table.
    outbox_scripts,
    parked_scripts,
    partition_scripts,
    sync_scripts,
    table_scripts,
)
from benchmarks.job import job, say
from benchmarks.script_timer import CASES as CASES
from benchmarks.script_timer import Timer


def main(names: Sequence[str], repeats: int) -> None:
    """Time these and report it."""
    redis = Redis.from_url(job().url, protocol=2)
    timer = Timer(redis)
    for name in names:
        redis.flushall()
        if name == "xadd":
            say(spent=[timer.xadd(20_000) for _ in range(5)])
        else:
            say(spent=CASES[name].run(timer, repeats))


if __name__ == "__main__":
    main(sys.argv[2:], int(sys.argv[1]))
