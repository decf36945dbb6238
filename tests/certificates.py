"""Makes certificates, and the options with which servers and clients use them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import trustme


@dataclass(frozen=True)
class Certificates:
    """Files in one folder: an authority, a server's certificate for localhost, and a client's."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Certificates:
        """Make new certificates in `folder`."""
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        for name, identity in (("server", "localhost"), ("client", "worker@example.org")):
            made = authority.issue_cert(identity)
            made.private_key_pem.write_to_path(folder / f"{name}.key")
            for blob in made.cert_chain_pems:
                blob.write_to_path(folder / f"{name}.pem", append=True)
        return cls(folder)

    def options(self, port: int, clients: bool) -> dict[str, str]:
        """A server's TLS settings for this port; `clients`: clients need a certificate too."""
        return {
            "tls_port": str(port),
            "tls_ca_cert_file": str(self.folder / "ca.pem"),
            "tls_cert_file": str(self.folder / "server.pem"),
            "tls_key_file": str(self.folder / "server.key"),
            "tls_auth_clients": "yes" if clients else "no",
        }

    def query(self, *, client: bool = False, **options: str) -> str:
        """The query of a URL that trusts the authority and, with `client`, sends a certificate."""
        files = {"ssl_ca_certs": str(self.folder / "ca.pem"), **options}
        if client:
            files["ssl_certfile"] = str(self.folder / "client.pem")
            files["ssl_keyfile"] = str(self.folder / "client.key")
        return "?" + urlencode(files)
