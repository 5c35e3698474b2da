"""All settings of the engine: environment variables with the prefix PMS_, nested by `__`, secrets also as files."""

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, SecretStr, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict


class MqttSettings(BaseModel, frozen=True):
    """The broker that gateways publish to."""

    host: str = "127.0.0.1"
    port: int = 1883
    username: str | None = None
    password: SecretStr | None = None
    client_id: str = "pms-engine"
    ca: Path | None = None
    cert: Path | None = None  # of this engine, with its key, for brokers that ask for one
    key: Path | None = None

    @model_validator(mode="after")
    def check_pair(self) -> "MqttSettings":
        if (self.cert is None) != (self.key is None):
            raise ValueError("`cert` and `key` belong together")
        if self.cert is not None and self.ca is None:
            raise ValueError("`cert` needs `ca`")
        return self


class InfluxSettings(BaseModel, frozen=True):
    """InfluxDB 2.x (or a server that speaks its write API); without a url the embedded store is used."""

    url: str | None = None
    org: str = "pms"
    bucket: str = "pms"
    token: SecretStr = SecretStr("")
    local_hours: float = Field(default=24.0, ge=12.0)  # the newest samples, kept here as well
    spool_mb: int = Field(default=2048, ge=16)  # what may wait while the server is away


class WebSettings(BaseModel, frozen=True):
    """Where the pages are served."""

    host: str = "127.0.0.1"
    port: int = 8080
    base_url: str | None = None  # as people reach it, for links in messages
    secure_cookies: bool = False
    session_days: int = 14


class WebhookSettings(BaseModel, frozen=True):
    """A webhook signed as Standard Webhooks 1.0."""

    url: str | None = None
    secret: SecretStr = SecretStr("")


class EmailSettings(BaseModel, frozen=True):
    """A mail server; one message goes to all recipients."""

    host: str | None = None
    port: int = 25
    username: str | None = None
    password: SecretStr | None = None
    starttls: bool = False
    sender: str = "pms-iot@localhost"
    recipients: tuple[str, ...] = ()


class BudgetSettings(BaseModel, frozen=True):
    """How many unconfirmed alarms of statistics people may get in 30 days, from one asset and one site."""

    asset_month: float = Field(default=2.0, ge=0)
    site_month: float = Field(default=10.0, ge=0)


class Settings(BaseSettings):
    """Every setting, read once at the start and never changed."""

    model_config = SettingsConfigDict(
        env_prefix="PMS_", env_nested_delimiter="__", env_ignore_empty=True, frozen=True
    )

    data_dir: Path = Path("var")
    database_url: str | None = None  # default: SQLite in data_dir
    rules_dir: Path | None = None  # default: the packs that ship with pms_iot
    ingest_file: Path | None = None  # which topics of third parties are heard, and how
    log_level: str = Field(default="info", pattern="(?i)^(debug|info|warning|error)$")
    log_format: Literal["auto", "json", "text"] = "auto"  # auto: text on a terminal
    mqtt: MqttSettings = MqttSettings()
    influx: InfluxSettings = InfluxSettings()
    web: WebSettings = WebSettings()
    webhook: WebhookSettings = WebhookSettings()
    email: EmailSettings = EmailSettings()
    budget: BudgetSettings = BudgetSettings()
    admin_password: SecretStr | None = None  # sets the password of `manager` at first start
    metrics_token: SecretStr | None = None  # without it only this machine reads /metrics
    disk_reserve_mb: float = Field(default=512.0, ge=0)  # of data_dir that samples never take
    raw_days: float = Field(default=30.0, gt=0)  # how long the embedded store keeps samples
    score_days: float = Field(default=30.0, gt=0)  # and the samples that detectors make
    minute_days: float = Field(default=180.0, gt=0)  # and roll-ups of 1 min
    quarter_days: float = Field(default=730.0, gt=0)  # of 15 min
    hour_days: float = Field(default=3650.0, gt=0)  # of 1 h
    model_history_days: float = Field(default=30.0, ge=0)  # that models of assets are fitted from
    verify_after_s: float = Field(default=300.0, ge=0)  # without the fault, until a repair counts
    tick_s: float = Field(
        default=1.0, gt=0
    )  # real seconds between two looks at clocks and due dates
    snapshot_s: float = Field(default=5.0, gt=0)  # real seconds between two snapshots of state

    @property
    def core_url(self) -> str:
        return self.database_url or f"sqlite:///{self.data_dir / 'core.db'}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, SecretFiles(settings_cls)


class SecretFiles(PydanticBaseSettingsSource):
    """`PMS_X_FILE=/run/secrets/x` sets PMS_X to what the file holds, so that no secret stands in an environment."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError  # not asked: __call__ reads all at once

    def __call__(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, file in os.environ.items():
            if name.startswith("PMS_") and name.endswith("_FILE") and name not in names_of():
                *path, last = name.removeprefix("PMS_").removesuffix("_FILE").lower().split("__")
                place = found
                for part in path:
                    place = place.setdefault(part, {})
                place[last] = Path(file).read_text().strip()
        return found


def names_of(model: type[BaseModel] = Settings, prefix: str = "PMS_") -> set[str]:
    """The environment variables that set something."""
    names: set[str] = set()
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names |= names_of(kind, f"{prefix}{name.upper()}__")
        else:
            names.add(f"{prefix}{name.upper()}")
    return names
