"""Compares what the website has accepted with the ledger, and sends again what is missing there."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any


def main() -> None:
    """Send each order that is in accepted.log, but not in ledger.csv."""
    shop: Any = importlib.import_module("shop")
    billed = {int(line.partition(",")[0]) for line in Path("ledger.csv").read_text().splitlines()}
    accepted = {int(line) for line in Path("accepted.log").read_text().splitlines()}
    for number in sorted(accepted - billed):
        shop.orders.send_sync(shop.made_up(number), dedupe=f"order-{number}-again")
    print(f"sent {len(accepted - billed)} orders again")


if __name__ == "__main__":
    main()
