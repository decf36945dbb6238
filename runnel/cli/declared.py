"""Finds the app that `runnel inspect` shows, and what its code declares. Importing it is slow."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from runnel.app import App
from runnel.cli.names import Names
from runnel.cli.target import load_app, load_module, processor_in
from runnel.operations.inspection import Declared
from runnel.operations.registry import entry_of
from runnel.preflight.checks import check_contract
from runnel.protocol.scripts import Scripts
from runnel.stream import Stream, StreamSpec


class DeclaredApp:
    """The app of a target, which may also be one of its processors, such as ``example:printer``.
    Exits with code 2 and a hint for another target."""

    def __init__(self, target: str) -> None:
        module, attribute = load_module(target)
        is_app = isinstance(getattr(module, attribute, None), App | Stream)
        found = None if is_app else processor_in(module, attribute)
        self.processor: str | None = None
        if found is None:
            self._app = load_app(target)
        else:
            self._app, processor = found
            self.processor = f"{processor.stream.name}@{processor.name}"
            target = f"{module.__name__}:{_name_of(self._app, module)}"
        self.name = self._app.name
        self.redis_url = self._app.settings.redis_url
        self.names = Names(target.partition(":")[0], target, frozenset(_pairs(self._app)))

    async def declared(self, scripts: Scripts, url: str) -> Declared:
        """What the code declares. Raises Mismatch if Redis holds another declaration."""
        for stream in self._app.streams.values():
            await check_contract(scripts, stream.spec, url)
        return declared_in(self._app)

    def streams(self) -> dict[str, StreamSpec[Any]]:
        """The specifications of its streams, by name."""
        return {name: stream.spec for name, stream in self._app.streams.items()}


def _name_of(app: App, module: ModuleType) -> str:
    """The attribute of a module that has an app, or one of its streams."""
    for wanted in (app, *app.streams.values()):
        for name, value in vars(module).items():
            if value is wanted:
                return name
    return "APP"


def declared_in(app: App) -> Declared:
    """What the code of an app declares."""
    sinks = {
        (each.stream.name, each.name): each.sink.name
        for each in app.processors.values()
        if each.sink
    }
    entries = {name: entry_of(stream.spec) for name, stream in app.streams.items()}
    return Declared(entries, _pairs(app), sinks)


def _pairs(app: App) -> list[tuple[str, str]]:
    """The stream and the name of each processor that the code declares."""
    return [(each.stream.name, each.name) for each in app.processors.values()]
