"""TLS of a connection to a broker."""

import ssl
from pathlib import Path


def tls_context(ca: Path, cert: Path | None, key: Path | None) -> ssl.SSLContext:
    """TLS 1.2 or newer; the broker's name is checked. Raises OSError for a file that cannot be used."""
    context = ssl.create_default_context(cafile=str(ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert is not None:
        context.load_cert_chain(cert, key)
    return context
