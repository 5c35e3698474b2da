"""`pms-iot telemetry`: history between the stores and files."""

from pms_iot.telemetry_cli.commands import telemetry

__all__ = ["telemetry"]
