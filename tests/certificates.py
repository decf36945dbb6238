"""Certificates made on the fly, and what servers and clients need to use them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import trustme


@dataclass(frozen=True)
class Certificates:
    """Files in one folder: an authority, a server's certificate for localhost, a client's."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Certificates:
        """Make them anew."""
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        for name, identity in (("server", "localhost"), ("client", "worker@example.org")):
            made = authority.issue_cert(identity)
            made.private_key_pem.write_to_path(folder / f"{name}.key")
            for blob in made.cert_chain_pems:
                blob.write_to_path(folder / f"{name}.pem", append=True)
        return cls(folder)

    def options(self, port: int, clients: bool) -> dict[str, str]:
        """A server's settings for TLS on this port; `clients` is whether they must show one too."""
        return {
            "tls_port": str(port),
            "tls_ca_cert_file": str(self.folder / "ca.pem"),
            "tls_cert_file": str(self.folder / "server.pem"),
            "tls_key_file": str(self.folder / "server.key"),
            "tls_auth_clients": "yes" if clients else "no",
        }

    def query(self, *, client: bool = False, **options: str) -> str:
        """The part of a URL that trusts the authority and, if wanted, shows the client's own."""
        files = {"ssl_ca_certs": str(self.folder / "ca.pem"), **options}
        if client:
            files["ssl_certfile"] = str(self.folder / "client.pem")
            files["ssl_keyfile"] = str(self.folder / "client.key")
        return "?" + urlencode(files)
