"""TLS of a connection to the broker."""

import ssl

from pms_iot.settings import MqttSettings


def tls_context(settings: MqttSettings) -> ssl.SSLContext | None:
    """TLS 1.2 or newer with the broker's name checked; None for a plain connection.

    Raises OSError for a file that cannot be used.
    """
    if settings.ca is None:
        return None
    context = ssl.create_default_context(cafile=str(settings.ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.cert is not None:
        context.load_cert_chain(settings.cert, settings.key)
    return context
