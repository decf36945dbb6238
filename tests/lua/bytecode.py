"""Lists the globals that a Lua script uses, from its bytecode: text patterns would only guess."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from lupa import lua51

GETGLOBAL, SETGLOBAL = 5, 7
_HEADER = 12
_NIL, _BOOLEAN, _NUMBER, _STRING = 0, 1, 3, 4


@dataclass
class Globals:
    """Names of the globals that a script, with all functions in it, reads and writes."""

    read: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)


def globals_of(source: str) -> Globals:
    """Compile `source`, without its ``#!lua`` line, and list its globals.

    Raises SyntaxError if it does not compile.
    """
    lua = lua51.LuaRuntime(encoding="latin-1", unpack_returned_tuples=True)
    load = lua.eval("function(text) return loadstring(text) end")
    loaded = load(source.encode().decode("latin-1"))
    if isinstance(loaded, tuple):
        raise SyntaxError(loaded[1])
    dumped: str = lua.eval("string.dump")(loaded)
    found = Globals()
    reader = _Reader(dumped.encode("latin-1"))
    reader.function(found)
    assert reader.at == len(reader.chunk), "this is not the bytecode of Lua 5.1"
    return found


class _Reader:
    """Reads the bytecode of a chunk: see ``ldump.c`` of Lua 5.1. Sizes are this machine's."""

    def __init__(self, chunk: bytes) -> None:
        self.chunk = chunk
        self.at = _HEADER
        self.order: Literal["little", "big"] = "little" if chunk[6] else "big"
        self.int, self.size, self.code, self.double = chunk[7:11]

    def number(self, width: int) -> int:
        self.at += width
        return int.from_bytes(self.chunk[self.at - width : self.at], self.order)

    def text(self) -> str:
        length = self.number(self.size)
        self.at += length
        return self.chunk[self.at - length : self.at - 1].decode("latin-1") if length else ""

    def function(self, found: Globals) -> None:
        self.text()
        self.at += 2 * self.int + 4
        codes = [self.number(self.code) for _ in range(self.number(self.int))]
        constants = [self.constant() for _ in range(self.number(self.int))]
        for code in codes:
            if code & 0x3F == GETGLOBAL:
                found.read.add(constants[code >> 14])
            elif code & 0x3F == SETGLOBAL:
                found.written.add(constants[code >> 14])
        for _ in range(self.number(self.int)):
            self.function(found)
        self.debug()

    def constant(self) -> str:
        """The constant if it is a string, as names are; else an empty string."""
        kind = self.number(1)
        if kind == _STRING:
            return self.text()
        self.at += {_NIL: 0, _BOOLEAN: 1, _NUMBER: self.double}[kind]
        return ""

    def debug(self) -> None:
        """Skip line numbers and the names of locals and upvalues."""
        lines = self.number(self.int)
        self.at += lines * self.int
        for _ in range(self.number(self.int)):
            self.text()
            self.at += 2 * self.int
        for _ in range(self.number(self.int)):
            self.text()
