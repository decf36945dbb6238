"""``scripts/incident``: a drill for one who has the night watch."""

from __future__ import annotations

import os
import select
import shlex
import signal
import sys
import threading

import click

from tests.fleet import Fleet
from tests.incidents.every import INCIDENTS, find
from tests.incidents.incident import Incident
from tests.incidents.scene import Scene
from tests.servers import Server


@click.command()
@click.argument("which", required=False, metavar="[NUMBER|NAME]")
@click.option("--list", "list_", is_flag=True, help="Print numbers and names, which gives it away.")
def main(which: str | None, list_: bool) -> None:
    """Begin an incident in a small shop, and judge whether you have ended it.

    Find it with `runnel inspect` and end it with what that and docs/runbooks.md say. A number does
    not tell what is wrong. Exits with 0 if the incident was over in the end, with 1 if it was not.
    """
    if list_:
        click.echo("\n".join(f"{number:2}  {each.name}" for number, each in INCIDENTS.items()))
        return
    incident = find(which or "")
    if incident is None:
        raise click.UsageError(f"give a number: {', '.join(map(str, INCIDENTS))}")
    click.echo("The shop opens, and something happens to it: up to two minutes …")
    with incident.scene() as scene:
        incident.begin(scene)
        click.echo(_sheet(incident, scene))
        _wait()
        click.echo("The website closes. Is all well? Up to half a minute …")
        found = incident.complaints(scene)
        for each in found:
            click.echo(f"  {each}")
        click.echo("NOT over" if found else f"OVER: {len(scene.billed)} orders are billed")
        click.echo("Now end the workers and servers that you have started yourself.")
    sys.exit(1 if found else 0)


def _sheet(incident: Incident, scene: Scene) -> str:
    """What the night watch knows."""
    url = scene.url
    command = shlex.join(["runnel", "worker", "shop:app", *incident.worker_options])
    path = f"PATH={os.path.dirname(sys.executable)}:$PATH"
    worker = f"{path} RUNNEL_REDIS_URL={shlex.quote(url)} {command}"
    return "\n".join(
        [
            "",
            f"Directory  {scene.folder}",
            "           shop.py is the code; log has what the workers say, website.log what the",
            "           website meets",
            f"Redis      {url}",
            *(f"  started  {shlex.join(each.command)}" for each in _servers(scene)),
            f"Workers    {len(scene.workers.processes)}, of which each was started so:",
            f"           cd {scene.folder} && {worker}",
            *(f"Note       {each}" for each in incident.words()),
            "",
            "The incident is on. What has ended does not start again by itself.",
            f"When you believe that it is over, press Enter or `kill {os.getpid()}`.",
            "Workers that you have started must still run then.",
        ]
    )


def _servers(scene: Scene) -> list[Server]:
    servers = scene.servers
    return servers.servers if isinstance(servers, Fleet) else [servers]


def _wait() -> None:
    """Return after Enter, or SIGTERM."""
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    while not asked.is_set():
        if sys.stdin.closed or not sys.stdin.readable():
            asked.wait(1)
        elif select.select([sys.stdin], [], [], 0.5)[0]:
            if sys.stdin.readline():
                return
            asked.wait()


if __name__ == "__main__":
    main()
