"""Finds a processor without Python code, such as one of ``runnel worker --exec``."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import click

from runnel import keys
from runnel.app import App
from runnel.cli.running import reporting_errors, with_scripts
from runnel.operations.inspection import strings_at
from runnel.operations.processor_from_registry import check_known
from runnel.processor import Processor
from runnel.protocol.scripts import Scripts
from runnel.settings import Settings
from runnel.sidecar.sidecar_app import Sidecar, SidecarApp, streams_of
from runnel.stream import StreamSpec

_TARGET = re.compile(r"([^/:]+)/([^@:]+)@([^@:]+)")


def matches(target: str) -> bool:
    """Does it have the form APP/STREAM@PROCESSOR?"""
    return _TARGET.fullmatch(target) is not None


def load(target: str, must_exist: bool = True) -> tuple[App, Processor]:
    """A processor and its app, as far as Redis knows them. Expected errors end the process; one
    of them is that nothing is known of a processor that must exist."""
    found = _TARGET.fullmatch(target)
    assert found is not None
    app_name, stream_name, name = found.groups()
    sidecar = Sidecar(("true",), app_name, stream_name, name)
    # The option of the command that is running.
    context = click.get_current_context(silent=True)
    given: dict[str, Any] = context.params if context is not None else {}
    url = given.get("redis_url") or Settings.make().redis_url
    with reporting_errors(url):
        keys.check_name("processor", sidecar.processor)

    async def read(scripts: Scripts) -> tuple[dict[str, StreamSpec[Any]], bool]:
        specs = await streams_of(scripts, sidecar)
        if must_exist:
            await check_known(scripts, specs[sidecar.stream], sidecar.processor)
        streams = await strings_at(scripts.client, keys.streams(sidecar.app))
        return specs, f"{sidecar.stream}.{sidecar.processor}.dead" in streams

    specs, keeps_letters = with_scripts(url, read)
    app = SidecarApp(sidecar, specs, url).app
    processor = app.processors[sidecar.processor]
    if not keeps_letters:
        processor = app.processors[processor.name] = replace(processor, sink=None)
    return app, processor
