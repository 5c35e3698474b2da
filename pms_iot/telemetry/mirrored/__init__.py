"""Samples on an InfluxDB server, the newest of them here too, so that an outage of the server stops nothing."""

from pms_iot.telemetry.mirrored.store import MirroredStore

__all__ = ["MirroredStore"]
