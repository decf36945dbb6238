"""A process that only reckons: for half a second it decodes an order again and again, and says how
often."""

from __future__ import annotations

import sys
import time

import msgpack

from benchmarks.gate import say
from benchmarks.records import KINDS, order_values

SECONDS = 0.5

if __name__ == "__main__":
    decode = KINDS["order"].decode
    values = order_values(1)
    payload = msgpack.packb({**values, "created_at": values["created_at"].isoformat()})
    say(ready=True)
    sys.stdin.readline()
    done, end = 0, time.monotonic() + SECONDS
    while time.monotonic() < end:
        decode({b"msgpack": payload})
        done += 1
    say(done=done)
