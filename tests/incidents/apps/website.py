"""The website of the shop: an order every so many seconds, as VISITS says.

An order that is not accepted is tried again until it is. accepted.log has the numbers of those that
were, website.log says what went wrong.
"""

from __future__ import annotations

import importlib
import itertools
import os
import time
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

from runnel import RunnelError


def main() -> None:
    """Send orders until somebody ends this program."""
    shop: Any = importlib.import_module("shop")
    delay = getattr(shop, "DELAY", None)
    pause = float(os.environ.get("VISITS", "0.2"))
    with Path("accepted.log").open("a+") as accepted, Path("website.log").open("a") as log:
        accepted.seek(0)
        for number in itertools.count(1 + len(accepted.readlines())):
            order = shop.made_up(number)
            while True:
                try:
                    shop.orders.send_sync(order, dedupe=f"order-{number}", delay=delay)
                    break
                except (RunnelError, RedisError, OSError) as error:
                    print(f"order {number} is not accepted: {error}", file=log, flush=True)
                    time.sleep(0.5)
            print(number, file=accepted, flush=True)
            time.sleep(pause)


if __name__ == "__main__":
    main()
