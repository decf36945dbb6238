"""Plants one bug at a time, to check that the simulator finds it.

A bug replaces a piece of a shipped file. A Lua file is changed as it is loaded into the server, a
Python module as it is imported: nothing on disk changes. It is an error unless the file contains
the piece exactly once, so that the list of bugs keeps up with the code.

This module imports nothing of Runnel, because a bug must be installed before that.
"""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Planted:
    """One bug: in `file`, `old` becomes `new`."""

    name: str
    file: str
    old: str
    new: str

    def edit(self, source: str) -> str:
        """The source with the bug. Raises ValueError unless it contains the piece exactly once."""
        if source.count(self.old) != 1:
            found = source.count(self.old)
            raise ValueError(f"{self.name}: {self.file} has {self.old!r} {found} times, not once")
        return source.replace(self.old, self.new)

    def edit_script(self, name: str, source: bytes) -> bytes:
        """The source of a script, with the bug if it is in this script."""
        if self.file != f"lua/{name}.lua":
            return source
        return self.edit(source.decode()).encode()

    def install(self) -> None:
        """Make the import of the Python module add the bug. It must not be imported yet."""
        if self.file.endswith(".py"):
            module = self.file.removesuffix(".py").replace("/", ".")
            assert module not in sys.modules, f"{module} is imported already"
            sys.meta_path.insert(0, _Finder(module, self))


class _Finder:
    """Finds one module, and gives it a loader that adds the bug."""

    def __init__(self, module: str, planted: Planted) -> None:
        self._module = module
        self._planted = planted

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self._module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        assert spec is not None
        assert spec.origin is not None
        spec.loader = _Loader(name, spec.origin, self._planted)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    """Compiles a module with its bug, without the cache of compiled modules."""

    def __init__(self, name: str, path: str, planted: Planted) -> None:
        super().__init__(name, path)
        self._planted = planted

    def get_code(self, fullname: str) -> CodeType:
        source = Path(self.path).read_text()
        code = compile(self._planted.edit(source), self.path, "exec", dont_inherit=True)
        assert isinstance(code, CodeType)
        return code
