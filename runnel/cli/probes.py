"""Answers the probes of `runnel worker --health-port`, and serves its metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from runnel.cli import exits
from runnel.cli.http_server import Reply, as_json, serve
from runnel.metrics import hint


class Answer(NamedTuple):
    """What probes are told: is the worker alive, is it ready, and an object for people."""

    alive: bool
    ready: bool
    body: dict[str, Any]


def answer(host: str, port: int, ask: Callable[[], Answer], metrics: Callable[[], Reply]) -> None:
    """Answer probes at a host and a port from now on, and say where. `ask` is called for each, and
    `metrics` for ``/metrics``, in a thread. Exits with code 2 if the port cannot be used.

    ``/healthz`` and ``/readyz`` have the same body, and the status 200, or 503 if the worker is not
    alive or not ready.
    """

    def healthz(query: Mapping[str, str]) -> Reply:
        found = ask()
        return as_json(200 if found.alive else 503, found.body)

    def readyz(query: Mapping[str, str]) -> Reply:
        found = ask()
        return as_json(200 if found.ready else 503, found.body)

    def show_metrics(query: Mapping[str, str]) -> Reply:
        return metrics()

    routes = {"/healthz": healthz, "/readyz": readyz, "/metrics": show_metrics}
    found = serve("--health-port", host, port, routes)
    where = f"http://{host or '*'}:{found}"
    exits.say(f"probes: {where}/healthz and /readyz · {where}/metrics{hint()}", health_port=found)
