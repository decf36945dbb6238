"""Makes the app of ``runnel worker --exec``."""

from __future__ import annotations

import shutil
from dataclasses import asdict

from runnel import keys
from runnel.app import App
from runnel.cli.running import reporting_errors, with_scripts
from runnel.cli.sidecar_options import SidecarOptions
from runnel.errors import ConfigError
from runnel.settings import Settings
from runnel.sidecar.sidecar_app import Sidecar, SidecarApp, streams_of


def make_app(options: SidecarOptions, redis_url: str | None) -> App:
    """The app, whose streams are those that Redis knows. Expected errors end the process."""
    sidecar = Sidecar(**asdict(options))
    url = redis_url or Settings.make().redis_url
    with reporting_errors(url):
        sidecar.check()
        for kind in ("app", "stream", "processor"):
            keys.check_name(kind, getattr(sidecar, kind))
        if shutil.which(program := sidecar.command[0]) is None:
            raise ConfigError(
                f"--exec: there is no program {program!r} that can be run; give a path such as "
                "./handler, or a name on PATH, and arguments behind it; there is no shell"
            )
    specs = with_scripts(url, lambda scripts: streams_of(scripts, sidecar))
    with reporting_errors(url):
        return SidecarApp(sidecar, specs, url).app
