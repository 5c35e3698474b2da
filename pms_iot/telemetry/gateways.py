"""What gateways say of themselves: state (last will), birth and health."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import orjson
from sqlmodel import Session, col, select

from pms_iot.assets.catalog import SeriesCatalog
from pms_iot.assets.tables import Gateway, Site
from pms_iot.kernel.errors import BadPayloadError
from pms_iot.telemetry.batch import Batch
from pms_iot.telemetry.ledger import outages

# What the values of a report must be, where it has them. A report of another shape is not used at all.
_SHAPES: Mapping[str, Mapping[str, type]] = {
    "birth": {"epoch": str, "version": str, "devices": list, "last_seq": dict, "started_ns": int},
    "health": {
        "at_ns": int,
        "spool": dict,
        "devices": dict,
        "rss_bytes": int,
        "counters": dict,
        "clock": dict,
        "endpoints": dict,
    },
}
_WORDS = {str: "text", int: "a whole number", list: "a list", dict: "an object"}


@dataclass(frozen=True, slots=True)
class Report:
    """One message of a gateway about itself. `kind` is state, birth or health.

    retained: the broker kept it for whoever comes, so it tells nothing of now.
    """

    site: str
    gateway: str
    kind: str
    body: Mapping[str, Any]
    retained: bool = False


def decode_report(topic: str, payload: bytes, *, retained: bool = False) -> Report:
    """Raises BadPayloadError for a payload that is not what the topic promises.

    Its reason is one of unknown_topic, unknown_state, not_json, not_an_object, shape.
    """
    parts = topic.split("/")
    if len(parts) != 5 or parts[:2] != ["pms", "v1"] or parts[4] not in ("state", *_SHAPES):
        raise BadPayloadError("unknown_topic", topic)
    site, gateway, kind = parts[2:]
    if kind == "state":
        return Report(site, gateway, kind, {"state": _state(payload)}, retained)
    try:
        body = orjson.loads(payload)
    except orjson.JSONDecodeError as problem:
        raise BadPayloadError("not_json", str(problem)) from problem
    if not isinstance(body, dict):
        raise BadPayloadError("not_an_object", kind)
    _check_shape(body, _SHAPES[kind])
    if kind == "health":
        _check_shape(body.get("devices", {}), dict.fromkeys(body.get("devices", {}), dict))
    return Report(site, gateway, kind, body, retained)


def _check_shape(body: Mapping[str, Any], shape: Mapping[str, type]) -> None:
    for key, wanted in shape.items():
        value = body.get(key, wanted())
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise BadPayloadError("shape", f"{key}: {str(value)[:40]!r} is not {_WORDS[wanted]}")


def _state(payload: bytes) -> str:
    state = payload.decode("utf-8", "replace").strip()
    if state not in ("online", "offline"):
        raise BadPayloadError("unknown_state", state[:40])
    return state


def record_report(session: Session, report: Report, now: datetime) -> Gateway | None:
    """Keeps the newest report on the gateway's row; None if the register has no such gateway."""
    query = (
        select(Gateway)
        .join(Site, col(Gateway.site_id) == col(Site.id))
        .where(col(Site.code) == report.site, col(Gateway.code) == report.gateway)
    )
    gateway = session.exec(query).first()
    if gateway is None:
        return None
    outages.note_report(session, report.site, gateway, report.kind, report.body, now)
    if report.kind == "state":
        gateway.state = report.body["state"]
    else:
        setattr(gateway, report.kind, dict(report.body))
        if not report.retained:
            gateway.state = "online"
    if gateway.state == "online" and not report.retained:
        gateway.last_seen_at = now
    session.add(gateway)
    return gateway


def gateway_samples(report: Report, catalog: SeriesCatalog, now_ns: int) -> Batch:
    """The figures of a report as samples of the gateway's own asset, stamped on arrival."""
    found = [
        (series, value)
        for point, value in _figures(report, now_ns).items()
        if (series := catalog.lookup(report.gateway, point)) is not None
    ]
    return Batch.of(
        [series for series, _ in found],
        np.full(len(found), now_ns, np.int64),
        [value for _, value in found],
    )


def spool_rows(report: Report) -> int:
    """How many batches the gateway still holds; many when it does not say."""
    return int(_figures(report, 0).get("spool_rows", 1e9))


def said_ns(report: Report, now_ns: int) -> int:
    """When the gateway said it, by its own clock, but not in our future; now when it does not say."""
    return min(report.body.get("at_ns", now_ns), now_ns)


def started_ns(report: Report) -> int:
    """When the agent that was born began, by its own clock; 0 when it does not say."""
    return report.body.get("started_ns", 0)


def _figures(report: Report, now_ns: int) -> dict[str, float]:
    if report.kind == "state":
        return {"online": float(report.body["state"] == "online")}
    if report.kind != "health":
        return {}
    spool, devices = report.body.get("spool", {}), report.body.get("devices", {})
    clock = report.body.get("clock", {})
    oldest = spool.get("oldest_ns")
    said = said_ns(report, now_ns)
    flat: dict[str, Any] = {
        "online": 1.0,
        "spool_rows": spool.get("rows"),
        "spool_bytes": spool.get("bytes"),
        "spool_age_s": (said - oldest) / 1e9 if isinstance(oldest, int) and oldest else 0.0,
        "rss_bytes": report.body.get("rss_bytes"),
        "devices_bad": sum(not device.get("ok") for device in devices.values()),
        # `clock_step_s` comes in the gateway's event lane, at the instant of the step.
        "clock_uncertain": clock.get("uncertain"),
    }
    return {
        point: float(value)
        for point, value in flat.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }
