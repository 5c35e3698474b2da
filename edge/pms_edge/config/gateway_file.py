"""What a gateway file may say: one model per section."""

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from pms_edge.config.fields import Seconds, Strict, seconds
from pms_edge.mqtt_in.filters import valid_filter
from pms_edge.uplink.encoding import Encoding, check_encoding


class Address(NamedTuple):
    host: str
    port: int


def address(value: object) -> Address:
    host, colon, port = str(value).rpartition(":")
    if not (colon and host and port.isdigit() and 1 <= int(port) <= 65535):
        raise ValueError(f"{value!r} is not host:port")
    return Address(host.strip("[]"), int(port))


HostPort = Annotated[Address, BeforeValidator(address)]
SecondsOrAuto = Annotated[
    float | None, BeforeValidator(lambda value: None if value == "auto" else seconds(value))
]
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
Topic = Annotated[str, Field(pattern=r"^[^+#\x00]+$")]


TopicFilter = Annotated[str, AfterValidator(valid_filter)]


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

    def under(self, folder: Path) -> "Tls":
        """With the paths as seen from `folder`, that of the gateway file."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return self.model_copy(update={k: folder / v for k, v in given.items() if v})


class Login(Strict):
    """How a client proves itself to a broker, and the broker to it."""

    username: str | None = None
    password: str | None = Field(None, repr=False)
    password_file: Path | None = None
    tls: Tls | None = None


class Uplink(Login):
    host: str = Field(min_length=1)
    port: int = Field(1883, ge=1, le=65535)
    encoding: Annotated[Encoding, AfterValidator(check_encoding)] = "none"


class Push(Strict):
    """Configuration and writes signed with a key that only this gateway and its engine know."""

    key_file: Path | None = None
    key: bytes | None = Field(None, repr=False)
    trial: Seconds = 60.0  # real time in which a new configuration must reach the broker


class SpoolSettings(Strict):
    path: Path = Path("spool.db")
    max_mb: float = Field(64, gt=0, le=1_000_000)
    sync: Literal["full", "normal"] = "full"
    flush: Seconds = 1.0
    window: int = Field(64, ge=1, le=10_000)


MODBUS = ("tcp", "rtu", "rtu_tcp")
KINDS = (*MODBUS, "mqtt", "gb26875")
# Keys that mean something for some kinds of endpoint only.
ONLY_FOR = {
    "timeout": MODBUS,
    "gap_ms": ("rtu", "rtu_tcp"),
    "baud": ("rtu",),
    "parity": ("rtu",),
    "stop": ("rtu",),
    "rs485": ("rtu",),
    "transport": ("gb26875",),
    **dict.fromkeys(("username", "password_file", "tls"), ("mqtt",)),
    **dict.fromkeys(("discovery", "discovery_prefix", "subscribe"), ("mqtt",)),
}


class ClockSettings(Strict):
    """`require_sync`: samples count as uncertain while the kernel says that its clock is not set."""

    require_sync: bool = False


class Endpoint(Login):
    """`timeout` None: learned from the devices. `gap_ms` is the least silence before a request."""

    tcp: HostPort | None = None
    rtu: str | None = Field(
        None, pattern=r"^/.", description="the path of a serial port such as /dev/ttyUSB0"
    )
    rtu_tcp: HostPort | None = None
    mqtt: HostPort | None = None
    gb26875: HostPort | None = Field(None, description="where transmission devices connect to")
    transport: Literal["tcp", "udp", "both"] = Field("both", description="for gb26875 endpoints")
    timeout: SecondsOrAuto = None
    gap_ms: float = Field(0, ge=0, le=1000)
    baud: int = Field(9600, ge=300, le=4_000_000)
    parity: Literal["N", "E", "O"] = "E"  # the serial line guide's default, 2.5.1
    stop: Literal[1, 2] = 1
    rs485: bool = False
    discovery: Literal["homeassistant"] | None = None
    discovery_prefix: Topic = Field("homeassistant", description="an MQTT topic without wildcards")
    subscribe: list[TopicFilter] = Field([], max_length=100)

    @property
    def kind(self) -> str:
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def is_modbus(self) -> bool:
        return self.kind in MODBUS

    @model_validator(mode="after")
    def check_kind(self) -> "Endpoint":
        if len([kind for kind in KINDS if getattr(self, kind) is not None]) != 1:
            raise ValueError(f"needs exactly one of {', '.join(f'`{kind}:`' for kind in KINDS)}")
        for key in sorted(self.model_fields_set & set(ONLY_FOR)):
            if self.kind not in ONLY_FOR[key]:
                raise ValueError(f"`{key}` is for {' and '.join(ONLY_FOR[key])} endpoints")
        return self


class DeviceEntry(Strict):
    id: DeviceId
    profile: str
    endpoint: str
    unit: int | None = Field(None, ge=0, le=255)
    topic: Topic | None = Field(None, description="an MQTT topic without wildcards")
    values: str | None = None
    stale_after: Seconds | None = None
    ha_device: str | None = Field(None, min_length=1, max_length=256)
    site: TopicPart | None = None
    address: str | None = Field(  # of a transmission device (GB/T 26875.3), highest byte first
        None, pattern=r"^[0-9a-fA-F]{12}$", description="an address of twelve hexadecimal digits"
    )
    duty_check_every: Seconds | None = None
