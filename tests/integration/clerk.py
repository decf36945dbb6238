"""An app for a Redis user, clerk, and the permissions that this user needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from runnel import App, DeadLetterMiddleware, Events, ExceptionPolicy, Record, keys
from runnel.preflight.acl import Required
from runnel.preflight.checks import (
    required_by_sender,
    required_by_worker,
)

#: Sets the ACL rules of clerk, and returns a URL that logs in as clerk.
Grant = Callable[[Sequence[str]], Awaitable[str]]


class Numbered(Record):
    key: str
    number: int


app = App("acl", rebalance_delay=0.0, backoff=0.001, retries=1)
items = app.stream("items", record=Numbered, partition_by="key", partition_count=2)
seen: list[int] = []


@app.processor(items, exception_policy=ExceptionPolicy.IGNORE, middleware=[DeadLetterMiddleware()])
async def picky(events: Events[Numbered]) -> None:
    async for item in events.records():
        if item.number == 2:
            raise ValueError("2 is not wanted")
        seen.append(item.number)


@app.timer(interval=3600, on_leader=True)
async def sweep() -> None: ...


def minimal_rules(required: Required) -> list[str]:
    """The ACL rules that allow exactly what `required` lists."""
    named = [command for command, _ in (*required.uses(), *required.channels)]
    commands = {"evalsha", "script|load", *(each.lower().replace(" ", "|") for each in named)}
    patterns = [f"~{each}" for each in keys.patterns(required.app)]
    used = [
        each for each in patterns if any(key.startswith(each[1:-1]) for key in required.keys_used())
    ]
    names = [name for _, name in required.channels]
    channels = [
        f"&{each[1:]}" for each in patterns if any(name.startswith(each[1:-1]) for name in names)
    ]
    return [*sorted(f"+{each}" for each in commands), *used, *channels]


PICKY = app.processors["picky"]
WORKER = minimal_rules(required_by_worker(app, [PICKY]))
SENDER = minimal_rules(required_by_sender(items.spec))
