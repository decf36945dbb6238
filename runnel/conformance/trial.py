"""What a trial is, and how a function becomes one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from runnel.conformance.scene import Scene

Act = Callable[[Scene], Awaitable[None]]

#: What a client need not have -> what it then does in place of that, and the rule.
ABILITIES = {
    "parked": ("it refuses partitions with parked events", "W11"),
    "postponed": ("it leaves postponed events to workers that know them", "W27"),
    "outbox": ("it refuses partitions with an outbox", "W11"),
    "blocking": ("a handler that keeps its thread costs the partitions", "W8"),
    "delayed": ("others let delayed events enter the log", "W25"),
    "permissions": ("it learns what its user may not run from the first call", "C10"),
}


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial by its name. `rule` is what it is mainly about. It begins
    with so many `workers`. With `durable`, the server keeps its data over its own death. `needs` is
    an ability, or empty; a client without it can still be tried if the trial `refuses`."""

    name: str
    does: str
    rule: str
    act: Act
    workers: int = 2
    durable: bool = False
    #: Its session is so many times as long as that of others.
    longer: float = 1.0
    needs: str = ""
    refuses: bool = False

    @property
    def faultless(self) -> bool:
        """Does it do nothing to the commands?"""
        return self.name in ("calm", "codecs")


Trials = dict[str, Trial]


def adding_to(trials: Trials) -> Callable[..., Callable[[Act], Act]]:
    """A decorator that declares functions as trials. The first line of a docstring says what its
    trial does."""

    def trial(rule: str, **options: object) -> Callable[[Act], Act]:
        def add(act: Act) -> Act:
            name = act.__name__.replace("_", "-")
            does = (act.__doc__ or "").partition("\n")[0].rstrip(".")
            trials[name] = Trial(name, does, rule, act, **options)  # type: ignore[arg-type]
            return act

        return add

    return trial
