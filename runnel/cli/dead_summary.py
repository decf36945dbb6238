"""The end of `runnel dead list`: how much is set aside and why, and which partitions wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from redis.exceptions import NoPermissionError

from runnel.log import one_line
from runnel.operations.dead import Item
from runnel.operations.inspection import describe_all
from runnel.operations.partition_ranges import ranges
from runnel.processor import Processor
from runnel.protocol.scripts import Scripts

#: Types of errors that are named.
_MOST = 5


class Summary:
    """Counts items as they are listed."""

    def __init__(self) -> None:
        self._kinds: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._keys: set[bytes] = set()
        #: A key could not be read.
        self._unknown = False

    def add(self, item: Item) -> None:
        """Count an item."""
        self._kinds[item.kind] += 1
        self._keys.add(item.key)
        self._unknown |= item.kind == "dead letter" and not item.key
        if item.attempts:
            self._errors[one_line(item.error_type)] += 1

    def line(self) -> str:
        """Such as ``54 parked of 1 key · by error: 1 ValueError``."""
        if not self._kinds:
            return "nothing is set aside"
        kinds = ", ".join(_many(number, kind) for kind, number in self._kinds.items())
        keys = f" of {len(self._keys)} key{'' if len(self._keys) == 1 else 's'}"
        text = kinds if self._unknown else kinds + keys
        named = [f"{number} {name}" for name, number in self._errors.most_common(_MOST)]
        if len(self._errors) > _MOST:
            named.append(f"{len(self._errors) - _MOST} other types")
        return f"{text} · by error: {', '.join(named)}" if named else text


def _many(number: int, kind: str) -> str:
    return f"{number} {kind}s" if kind == "dead letter" and number > 1 else f"{number} {kind}"


async def quarantined(
    scripts: Scripts, found: Processor, target: str, numbers: Sequence[int] | None
) -> str | None:
    """A line that names the quarantined partitions among these, or all; None if there is none. The
    event for which one waits is not set aside. If the user of Redis may not know, it says that."""
    chosen = range(found.stream.partition_count) if numbers is None else numbers
    try:
        prefixes = [found.stream.prefix(number) for number in chosen]
        states = await describe_all(scripts, prefixes, found.name)
    except NoPermissionError as error:
        return f"it is unknown whether partitions are quarantined: Redis refuses it: {error}"
    waiting = [number for number, each in zip(chosen, states, strict=True) if each.quarantined]
    if not waiting:
        return None
    are = "partition {} is" if len(waiting) == 1 else "partitions {} are"
    return (
        f"{are.format(ranges(waiting))} quarantined, and the failed event is not set aside: "
        f"`runnel inspect {target} {waiting[0]}` shows it"
    )
