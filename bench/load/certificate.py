"""A certificate for 127.0.0.1, by an authority that lives as long as the run."""

from __future__ import annotations

import base64
import ssl

import trustme


def issue() -> tuple[str, ssl.SSLContext]:
    """The authority's certificate as a kubeconfig holds it (base64 of PEM), and the server's context."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return base64.b64encode(authority.cert_pem.bytes()).decode(), context
