"""The clock of the server is set back by an hour."""

from __future__ import annotations

import os
from pathlib import Path

from tests.incidents.incident import Incident
from tests.incidents.scene import Scene
from tests.servers import Server

#: Of the Debian package `faketime`.
LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)


class Clock(Incident):
    """After a restart of its virtual machine, the server's clock is an hour slow."""

    name = "clock"

    def scene(self) -> Scene:
        return Scene("slots", servers=ClockServer())

    def words(self) -> list[str]:
        return [
            "elsewhere it would be `chronyc makestep`: here `./set-clock +0` puts the clock of the "
            "server's machine right",
        ]

    def begin(self, scene: Scene) -> None:
        server = scene.server
        assert isinstance(server, ClockServer)
        tool = scene.folder / "set-clock"
        tool.write_text(f'#!/bin/sh\necho "${{1:?by how many seconds?}}" >{server.offset}\n')
        tool.chmod(0o755)
        self.settle(scene)
        server.set_clock(-3600)
        scene.until(lambda: _is_back(scene), "the clock is back")

    def complaints(self, scene: Scene, seconds: float = 20.0) -> list[str]:
        """As always; the last orders wait for their time first, and a worker that was not woken up
        looks for them every 20 s."""
        return super().complaints(scene, seconds and seconds + 25.0)


def _is_back(scene: Scene) -> bool:
    streams = scene.report()["streams"]
    return bool(streams) and any(each["oldest_ms"] is None for each in streams)


class ClockServer(Server):
    """A server whose clock can be set."""

    def set_clock(self, seconds: float) -> None:
        """Set it to that of this machine and so many seconds."""
        self.offset.write_text(f"{seconds:+.0f}\n")

    @property
    def offset(self) -> Path:
        """The file that says by how many seconds it differs."""
        return self.folder / "clock"

    def _command(self) -> list[str]:
        if not self.offset.exists():
            self.set_clock(0)
        settings = {
            "LD_PRELOAD": os.fspath(LIBRARY or ""),
            "FAKETIME_TIMESTAMP_FILE": os.fspath(self.offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        return [
            "env",
            *(f"{name}={value}" for name, value in settings.items()),
            *super()._command(),
        ]
