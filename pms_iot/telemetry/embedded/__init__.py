"""The embedded time series: a log of batches, packed blocks behind it, roll-ups beside them, in one file."""

from pms_iot.telemetry.embedded.store import EmbeddedStore

__all__ = ["EmbeddedStore"]
