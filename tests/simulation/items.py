"""The record of the simulated streams."""

from __future__ import annotations

from runnel import Record


class Item(Record):
    """`fails` is how often its handler fails, -1 for until the handlers are fixed; `kills` is how
    often it kills the worker that handles it. `origin` says which handler has emitted it."""

    number: int
    key: str
    work: float = 0.0
    fails: int = 0
    kills: int = 0
    filling: str = ""
    origin: str = ""
