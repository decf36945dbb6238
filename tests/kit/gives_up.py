"""A producer whose partitions are always full: it gives up its records, one each second."""

from __future__ import annotations

import json
import sys
import time

if __name__ == "__main__":
    for line in sys.stdin:
        record = json.loads(line)
        time.sleep(1.0)
        said = {"key": record["key"], "number": record["number"], "error": "no room"}
        print(json.dumps(said), flush=True)
