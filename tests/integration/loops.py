"""Programs that send from many event loops: ``loops.py PROGRAM URL``.

Prints how many files were open before and after. With ``-W error`` anything left open ends the
program with an error.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from collections.abc import Callable

from runnel import App, Record


class Item(Record):
    key: int
    number: int


PROGRAM, URL = sys.argv[1:]
app = App("loops", redis_url=URL, partition_count=4)
items = app.stream("items", record=Item, partition_by="key")


def files() -> int:
    return len(os.listdir("/proc/self/fd"))


def views() -> None:
    """One event loop for each send."""
    for number in range(40):
        asyncio.run(items.send(Item(key=number, number=number)))


def many() -> None:
    """One event loop for each send of many records."""
    for number in range(20):
        asyncio.run(items.send(*(Item(key=i, number=number) for i in range(50))))


def threads() -> None:
    """One event loop for each send, in several threads."""
    working = [threading.Thread(target=views) for _ in range(4)]
    for each in working:
        each.start()
    for each in working:
        each.join()


def unnoticed() -> None:
    """Event loops that are closed while their producer is still open."""
    for number in range(50):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(items.send(Item(key=number, number=number)))
        loop.close()
    asyncio.run(app.close())


def dropped() -> None:
    """Event loops that are never closed, in threads as well."""

    def one(number: int) -> None:
        loop = asyncio.new_event_loop()
        loop.run_until_complete(items.send(Item(key=number, number=number)))

    for number in range(30):
        one(number)
        thread = threading.Thread(target=one, args=(number,))
        thread.start()
        thread.join()
    assert len(app._producers._made) <= 2  # The last of each thread.
    asyncio.run(app.close())
    gc.collect()  # This closes the files of such a loop.


def forgotten() -> None:
    """Apps that are never closed, in a loop that ends before it can close their producers."""

    async def some() -> None:
        for number in range(20):
            other = App("loops", redis_url=URL, partition_count=4)
            stream = other.stream("items", record=Item, partition_by="key")
            await stream.send(Item(key=number, number=number))
            del other, stream
        gc.collect()

    asyncio.run(some())


def stopped() -> None:
    """Event loops that do not run, each with a producer of its own, until all are closed."""
    loops = [asyncio.new_event_loop() for _ in range(10)]
    for number, loop in enumerate(loops):
        loop.run_until_complete(items.send(Item(key=number, number=number)))
    asyncio.run(app.close())
    for number, loop in enumerate(loops):
        loop.run_until_complete(items.send(Item(key=number, number=number)))
        loop.run_until_complete(app.close())
        loop.close()


def cancelled() -> None:
    """Sends that are cancelled before they finish, just before their loop ends."""

    async def cut_short(number: int) -> None:
        sending = asyncio.create_task(items.send(Item(key=0, number=number), Item(key=1, number=0)))
        for _ in range(number % 20):
            await asyncio.sleep(0)
        sending.cancel()
        await asyncio.wait([sending])

    for number in range(100):
        asyncio.run(cut_short(number))


def uvloops() -> None:
    """One uvloop for each send."""
    import uvloop

    for number in range(100):
        uvloop.run(items.send(Item(key=number, number=number)))
    loop = uvloop.new_event_loop()
    loop.run_until_complete(items.send(Item(key=0, number=0)))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def forks() -> None:
    """Forked children that send, while their parent sends too."""

    async def parent() -> list[int]:
        await items.send(Item(key=0, number=0))
        children = []
        for _ in range(3):
            child = os.fork()
            if not child:
                status = 1
                try:
                    assert (
                        not app._producers._made
                    )  # The child must not use the producers of its parent.
                    threading.Thread(target=views).run()
                    status = 0
                finally:
                    os._exit(status)
            children.append(child)
            await items.send(Item(key=0, number=0))
        return children

    for child in asyncio.run(parent()):
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


PROGRAMS: dict[str, Callable[[], None]] = {
    each.__name__: each
    for each in (
        views,
        many,
        threads,
        unnoticed,
        dropped,
        forgotten,
        stopped,
        cancelled,
        uvloops,
        forks,
    )
}

if __name__ == "__main__":
    PROGRAMS[PROGRAM]()  # The first run may open files that stay open.
    before = files()
    PROGRAMS[PROGRAM]()
    after = files()
    gc.collect()
    print(before, after)
