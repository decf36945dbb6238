"""A handler waits for an answer that never comes."""

from __future__ import annotations

import socketserver
import threading

from runnel.operations import inspection
from tests.incidents.incident import SETTLED, Incident
from tests.incidents.scene import Scene


class StuckHandler(Incident):
    """The payment gateway forgets one request, and answers when it is asked again."""

    name = "stuck-handler"

    #: Seconds until an event counts as stuck.
    stalled_after = inspection.STALLED_AFTER / 1000

    def scene(self) -> Scene:
        return GatewayScene()

    def begin(self, scene: Scene) -> None:
        self.settle(scene)
        scene.until(
            lambda: scene.report(self.stalled_after)["processors"][0]["state"] == "stalled",
            "a partition stalls",
            self.stalled_after + 30,
        )


class GatewayScene(Scene):
    """A scene with a payment gateway."""

    def __init__(self) -> None:
        super().__init__("gateway")
        self.gateway = _Gateway(("127.0.0.1", 0), _Payment)
        (self.folder / "gateway.txt").write_text(str(self.gateway.server_address[1]))
        threading.Thread(target=self.gateway.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.gateway.shutdown()
        self.gateway.server_close()
        super().close()


class _Gateway(socketserver.ThreadingTCPServer):
    daemon_threads = True
    forgotten = False


class _Payment(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        """Answer a request; the first after the shop has settled is forgotten."""
        number = int(self.rfile.readline().split()[0] or 0)
        gateway = self.server
        assert isinstance(gateway, _Gateway)
        if number > SETTLED + 5 and not gateway.forgotten:
            gateway.forgotten = True
            self.rfile.read()  # Until the other end has closed.
        else:
            self.wfile.write(b"paid\n")
