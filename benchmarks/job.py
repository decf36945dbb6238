"""What a process under measurement is to do: handed over in one environment variable."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

VARIABLE = "RUNNEL_BENCHMARK"


@dataclass(frozen=True)
class Job:
    """`form` is the shape of the handler, `record` what the events carry (see `records`).

    `name` is the processor's, new for every run: so each begins at the first event. `events` is how
    many the process is to handle before it says so; 0 for never.
    """

    url: str
    form: str = "one"
    record: str = "order"
    name: str = "p"
    partitions: int = 16
    events: int = 0
    profile: bool = False

    def environment(self) -> dict[str, str]:
        """The environment of a process that is to do it."""
        return {VARIABLE: json.dumps(asdict(self))}


def job() -> Job:
    """This process's own job."""
    return Job(**json.loads(os.environ[VARIABLE]))
