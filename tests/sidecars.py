"""Handler processes in shell for tests of the sidecar."""

from __future__ import annotations

from runnel.sidecar.wire import request

#: Reads the id of a request into `id`. The request begins with it.
_READ = "id=${line#*:}; id=${id%%,*}"
OK = 'echo "{\\"id\\":$id,\\"result\\":\\"ok\\"}"'


def shell(body: str, before: str = ":") -> tuple[str, ...]:
    """The command of a handler that runs `body` for each request, whose id is in ``$id`` and whose
    text in ``$line``; and `before` at its start."""
    return "sh", "-c", f"{before}; while IFS= read -r line; do {_READ}; {body}; done"


def line(number: int) -> bytes:
    """A request."""
    return request({"id": number, "record": {"n": number}})
