"""Plain functions under test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.worker.inside import Item, Ledger


def plain(ledger: Ledger, call: Callable[[int], Any] | None = None, **options: Any) -> None:
    """Declare a plain function that calls `call` with each number and then notes it."""

    def work(item: Item) -> Any:
        result = call(item.number) if call else None
        ledger.seen.append(item.number)
        return result

    ledger.app.on(ledger.items, name="work", **options)(work)
