"""Certificates for loopback: an authority made on the spot, trusted by nobody who is not given its file."""

from __future__ import annotations

from dataclasses import dataclass
import ssl
from typing import TYPE_CHECKING

import trustme

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Authority:
    """A certificate authority and one server certificate of its own for `localhost` and 127.0.0.1."""

    ca_file: Path
    """The authority's certificate (PEM): what a client is told to trust."""
    cert_file: Path
    """The server's certificate chain (PEM)."""
    key_file: Path
    """The server's private key (PEM)."""

    def server_context(self) -> ssl.SSLContext:
        """A context for a TLS server that shows the certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert_file, self.key_file)
        return context


def make_authority(folder: Path, *names: str) -> Authority:
    """Make an authority and write its files into `folder`; `names` replace localhost and 127.0.0.1."""
    authority = trustme.CA()
    server = authority.issue_cert(*(names or ("localhost", "127.0.0.1")))
    made = Authority(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    authority.cert_pem.write_to_path(str(made.ca_file))
    server.private_key_pem.write_to_path(str(made.key_file))
    for number, blob in enumerate(server.cert_chain_pems):
        blob.write_to_path(str(made.cert_file), append=number > 0)
    return made
