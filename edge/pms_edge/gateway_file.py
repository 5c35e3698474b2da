"""What a gateway file may say: one model per section."""

import re
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BeforeValidator, Field, model_validator

from pms_edge.profiles import Strict

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "": 1.0}


class Address(NamedTuple):
    host: str
    port: int


def seconds(value: object) -> float:
    """A duration such as `90s`, `500ms`, `5m`, `2h`, `3d` or plain seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)", str(value).strip())
    if isinstance(value, bool) or not match or float(match[1]) <= 0:
        raise ValueError(f"{value!r} is not a duration such as 500ms, 30s or 5m")
    return float(match[1]) * _UNITS[match[2]]


def address(value: object) -> Address:
    host, colon, port = str(value).rpartition(":")
    if not (colon and host and port.isdigit() and 1 <= int(port) <= 65535):
        raise ValueError(f"{value!r} is not host:port")
    return Address(host.strip("[]"), int(port))


Seconds = Annotated[float, BeforeValidator(seconds)]
HostPort = Annotated[Address, BeforeValidator(address)]
# One level of an MQTT topic: no separators or wildcards.
TopicPart = Annotated[
    str,
    Field(max_length=64, pattern=r"^[^/+#\x00-\x1f]+$", description="one level of an MQTT topic"),
]
GatewayId = Annotated[
    str,
    Field(
        max_length=64,
        pattern=r"^[^/+#\s\x00-\x1f]+$",
        description="one level of an MQTT topic without spaces",
    ),
]
DeviceId = Annotated[
    str,
    Field(
        max_length=64,
        pattern=r"^[^\x00-\x1f\\]*[^\x00-\x1f\\ ]$",
        description="a name without control characters, backslashes or a space at its end",
    ),
]
# Source address of a transmission device (GB/T 26875.3): six bytes, highest first.
DeviceAddress = Annotated[
    str, Field(pattern=r"^[0-9a-fA-F]{12}$", description="an address of twelve hexadecimal digits")
]
Topic = Annotated[str, Field(pattern=r"^[^+#\x00]+$")]


class GatewayName(Strict):
    id: GatewayId
    site: TopicPart


class Tls(Strict):
    ca: Path
    cert: Path | None = None
    key: Path | None = None

    @model_validator(mode="after")
    def check_pair(self) -> "Tls":
        if (self.cert is None) != (self.key is None):
            raise ValueError("`cert` and `key` belong together")
        return self


class Login(Strict):
    """How a client proves itself to a broker, and the broker to it."""

    username: str | None = None
    password: str | None = Field(None, repr=False)
    password_file: Path | None = None
    tls: Tls | None = None


class Uplink(Login):
    host: str = Field(min_length=1)
    port: int = Field(1883, ge=1, le=65535)


class SpoolSettings(Strict):
    path: Path = Path("spool.db")
    max_mb: float = Field(64, gt=0, le=1_000_000)
    sync: Literal["full", "normal"] = "full"
    flush: Seconds = 1.0
    window: int = Field(64, ge=1, le=10_000)


class Endpoint(Strict):
    tcp: HostPort | None = None
    mqtt: HostPort | None = None
    gb26875: HostPort | None = Field(None, description="where transmission devices connect to")
    transport: Literal["tcp", "udp", "both"] = Field("both", description="for gb26875 endpoints")
    timeout: Seconds = 2.0

    @model_validator(mode="after")
    def check_one(self) -> "Endpoint":
        if [self.tcp, self.mqtt, self.gb26875].count(None) != 2:
            raise ValueError("needs exactly one of `tcp: host:port`, `mqtt:` and `gb26875:`")
        if self.gb26875 is None and "transport" in self.model_fields_set:
            raise ValueError("`transport` is for gb26875 endpoints")
        return self


class DeviceEntry(Strict):
    id: DeviceId
    profile: str
    endpoint: str
    unit: int | None = Field(None, ge=0, le=255)
    topic: Topic | None = Field(None, description="an MQTT topic without wildcards")
    values: str | None = None
    stale_after: Seconds | None = None
    site: TopicPart | None = None
    address: DeviceAddress | None = None
    duty_check_every: Seconds | None = None
