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


@dataclass(frozen=True, slots=True)
class Report:
    """One message of a gateway about itself. `kind` is state, birth or health."""

    site: str
    gateway: str
    kind: str
    body: Mapping[str, Any]


def decode_report(topic: str, payload: bytes) -> Report:
    """Raises BadPayloadError for a payload that is not what the topic promises."""
    parts = topic.split("/")
    if len(parts) != 5:
        raise BadPayloadError("unknown_topic", topic)
    _, _, site, gateway, kind = parts
    if kind == "state":
        return Report(site, gateway, kind, {"state": _state(payload)})
    try:
        body = orjson.loads(payload)
    except orjson.JSONDecodeError as problem:
        raise BadPayloadError("not_json", str(problem)) from problem
    if not isinstance(body, dict):
        raise BadPayloadError("not_an_object", kind)
    return Report(site, gateway, kind, body)


def _state(payload: bytes) -> str:
    state = payload.decode("utf-8", "replace").strip()
    if state not in ("online", "offline"):
        raise BadPayloadError("unknown_state", state[:40])
    return state


def record_report(session: Session, report: Report, now: datetime) -> bool:
    """Keeps the newest report on the gateway's row; False if the register has no such gateway."""
    query = (
        select(Gateway)
        .join(Site, col(Gateway.site_id) == col(Site.id))
        .where(col(Site.code) == report.site, col(Gateway.code) == report.gateway)
    )
    gateway = session.exec(query).first()
    if gateway is None:
        return False
    if report.kind == "state":
        gateway.state = report.body["state"]
    else:
        gateway.state = "online"
        setattr(gateway, report.kind, dict(report.body))
    if gateway.state == "online":
        gateway.last_seen_at = now
    session.add(gateway)
    return True


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


def started_ns(report: Report) -> int:
    """When the agent that was born began, by its own clock; 0 when it does not say."""
    started = report.body.get("started_ns")
    return started if isinstance(started, int) else 0


def _figures(report: Report, now_ns: int) -> dict[str, float]:
    if report.kind == "state":
        return {"online": float(report.body["state"] == "online")}
    if report.kind != "health":
        return {}
    spool, devices = _mapping(report.body.get("spool")), _mapping(report.body.get("devices"))
    oldest = spool.get("oldest_ns")
    flat: dict[str, Any] = {
        "online": 1.0,
        "spool_rows": spool.get("rows"),
        "spool_bytes": spool.get("bytes"),
        "spool_age_s": (now_ns - oldest) / 1e9 if isinstance(oldest, int) and oldest else 0.0,
        "rss_bytes": report.body.get("rss_bytes"),
        "devices_bad": sum(not _mapping(device).get("ok") for device in devices.values()),
    }
    return {
        point: float(value)
        for point, value in flat.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
