"""The vital signs of a running engine, and what they mean for `/livez` and `/readyz`. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from pms_iot.telemetry.disk import DiskStatus
from pms_iot.telemetry.meters import Distribution, GatewayKey

STUCK_S = 120.0  # on one message or run of messages; a store that is slow gives up well before
LAG_S = 60.0  # until a message is taken; a gateway sends again what is not acknowledged for so long


@dataclass(frozen=True, slots=True)
class Vitals:
    """One moment of the main path and what it stands on."""

    alive: bool  # its thread
    waiting: bool  # for a store to come back
    connected: bool  # to the broker
    busy_s: float  # with what is at hand
    queued: int  # messages received and not yet taken
    oldest_wait_s: float  # of the first of them
    write_s: Distribution  # seconds per write to the sample store
    write_samples: Distribution
    newest_ns: Mapping[GatewayKey, int]  # newest committed sample time
    disk: DiskStatus | None  # None before the first look
    store: str | None = None  # what is amiss with a store that samples need not wait for


def why_dead(vitals: Vitals) -> dict[str, str]:
    """Part -> reason, if only a restart helps; empty otherwise."""
    if not vitals.alive:
        return {"pipeline": "its thread has ended"}
    if vitals.busy_s > STUCK_S and not vitals.waiting:
        return {"pipeline": f"stuck on one message for more than {STUCK_S:.0f} s"}
    return {}


def why_not_ready(vitals: Vitals) -> dict[str, str]:
    """Part -> reason why samples are not taken as they come; for everybody, so without addresses."""
    found = why_dead(vitals)
    if not vitals.connected:
        found["broker"] = "not connected"
    if vitals.waiting:
        found["pipeline"] = "waiting for a store to come back"
    elif vitals.oldest_wait_s > LAG_S:
        found["consumer"] = f"messages wait for more than {LAG_S:.0f} s"
    if vitals.disk is not None and vitals.disk.state == "full":
        found["disk"] = "its reserve is reached, samples are not taken"
    return found


def warnings(vitals: Vitals) -> dict[str, str]:
    """Part -> what will soon be a reason not to be ready."""
    found: dict[str, str] = {}
    if vitals.disk is not None and vitals.disk.state == "low":
        found["disk"] = "nearly full"
    if vitals.store is not None:
        found["store"] = vitals.store
    return found
