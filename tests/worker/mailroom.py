"""An app for worker processes under test: its handler fails one try, and dies in the next one.

Each try is a line ``number pid`` of the file `$EFFECTS`. The first try of a mail with the fault
"down" fails, and the second one kills the worker, as kill -9 does.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from runnel import App, Record

app = App("mailroom", session_timeout=1.0, rebalance_delay=0.05)


class Mail(Record):
    number: int
    fault: str = ""


mails = app.stream("mails", record=Mail, partition_by="number", partition_count=1)
sent = app.table("sent", mails, value=int, default=0)


@app.on(mails, exception_policy="retry_later", retries=5, backoff=0.05)
def deliver(mail: Mail) -> None:
    path = Path(os.environ["EFFECTS"])
    with path.open("a") as lines:
        lines.write(f"{mail.number} {os.getpid()}\n")
    sent[mail.number] += 1
    tries = [line.split()[0] for line in path.read_text().splitlines()].count(str(mail.number))
    if mail.fault == "down" and tries == 1:
        raise ConnectionError("the mail server is down")
    if mail.fault == "down" and tries == 2:
        os.kill(os.getpid(), signal.SIGKILL)
