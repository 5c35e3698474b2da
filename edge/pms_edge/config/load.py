"""The gateway file: where the devices are, which profile each follows, where samples go."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from pms_edge.config.environment import ENV_PREFIX, Secret, from_environment, override
from pms_edge.config.gateway_file import (
    ClockSettings,
    DeviceEntry,
    Endpoint,
    GatewayName,
    Login,
    Push,
    SpoolSettings,
    Uplink,
    seconds,
)
from pms_edge.config.local_only import keep_local, keep_writes
from pms_edge.config.located import ConfigError, Document, KeyPath, suggest
from pms_edge.config.push_key import read_push
from pms_edge.gb26875.profile import load_any_profile
from pms_edge.mqtt_in.places import misplaced
from pms_edge.profiles.profile import Profile, Strict, profile_files, shipped_profiles

DEFAULT_CLASSES = {"fast": 1.0, "normal": 5.0, "slow": 60.0}


class _Top(Strict):
    gateway: Any
    uplink: Any
    spool: Any = None
    clock: Any = None
    classes: Any = None
    endpoints: Any = None
    devices: Any = None
    profiles: Any = None
    push: Any = None
    writes: bool = False


@dataclass(frozen=True, slots=True)
class Device:
    """One device as it will be read; which keys count depends on the kind of its endpoint."""

    id: str
    site: str
    profile: Profile
    endpoint: str
    unit: int
    topic: str
    values: tuple[str, ...]
    stale_after_s: float | None
    address: str = ""
    duty_check_every_s: float | None = None
    ha_device: str = ""


@dataclass(frozen=True, slots=True)
class Config:
    gateway: str
    site: str
    uplink: Uplink
    spool: SpoolSettings
    classes: dict[str, float]
    endpoints: dict[str, Endpoint]
    devices: tuple[Device, ...]
    hash: str
    push: Push | None = None  # with its key
    writes: bool = False
    clock: ClockSettings = field(default_factory=ClockSettings)

    def devices_of(self, endpoint: str) -> list[Device]:
        return [device for device in self.devices if device.endpoint == endpoint]


def load_config(
    file: str | Path, env: Mapping[str, str] = os.environ, *, pushed: Path | None = None
) -> Config:
    """The gateway file, or the configuration in the folder `pushed`, and the profiles that it uses.

    Raises ConfigError with every mistake of the gateway file, the environment and the profiles.
    """
    document = Document(file if pushed is None else pushed / "gateway.yaml")
    if pushed is not None:
        keep_local(document, Document(file))
    overrides = override(document, env)
    loaded = _Loader(document, Path(file).parent, pushed and pushed / "profiles").config()
    mistakes = [from_environment(m, overrides) for m in document.mistakes]
    if mistakes or not isinstance(loaded, Config):
        raise ConfigError(mistakes)
    return loaded


class _Loader:
    """Reads one gateway document; mistakes gather in the documents."""

    def __init__(self, document: Document, folder: Path, pushed: Path | None) -> None:
        self.document = document
        self.folder = folder
        self.pushed = pushed

    def config(self) -> Config | None:
        doc = self.document
        if doc.mistakes:  # not even a YAML mapping
            return None
        doc.parse(_Top, doc.content, ())
        name = uplink = None
        if "gateway" in doc.content:
            name = doc.parse(GatewayName, doc.section("gateway", dict), ("gateway",))
        if "uplink" in doc.content:
            uplink = doc.parse(Uplink, self._uplink(), ("uplink",))
        spool = doc.parse(SpoolSettings, doc.section("spool", dict), ("spool",))
        clock = doc.parse(ClockSettings, doc.section("clock", dict), ("clock",))
        classes, endpoints = self._classes(), self._endpoints()
        devices = self._devices(name.site if name else "", classes, endpoints)
        if doc.mistakes or name is None or uplink is None or spool is None or clock is None:
            return None
        spool = spool.model_copy(update={"path": self.folder / spool.path})
        uplink = uplink.model_copy(
            update={
                "password": self._password(uplink, ("uplink",)),
                "tls": uplink.tls and uplink.tls.under(self.folder),
            }
        )
        push = read_push(doc, self.folder)
        digest = self._hash(devices)
        if doc.mistakes:
            return None
        sound = {key: value for key, value in endpoints.items() if value}
        return Config(
            gateway=name.id,
            site=name.site,
            uplink=uplink,
            spool=spool,
            clock=clock,
            classes=classes,
            endpoints=sound,
            devices=devices,
            hash=digest,
            push=push,
            writes=bool(doc.content.get("writes")),
        )

    def _uplink(self) -> dict[str, Any]:
        uplink: dict[str, Any] = self.document.section("uplink", dict)
        if "password" in uplink and not isinstance(uplink["password"], Secret):
            what = f"no password in this file: use password_file or {ENV_PREFIX}UPLINK__PASSWORD"
            self.document.add(("uplink", "password"), what)
        return uplink

    def _password(self, login: Login, path: KeyPath) -> str | None:
        if login.password_file is None:
            return login.password
        try:
            return (self.folder / login.password_file).read_text("utf-8").strip()
        except OSError as error:
            self.document.add((*path, "password_file"), f"cannot be read: {error.strerror}")
        except UnicodeDecodeError:
            self.document.add((*path, "password_file"), "is not UTF-8")
        return None

    def _classes(self) -> dict[str, float]:
        classes: dict[str, float] = {}
        for name, period in self.document.section("classes", dict).items():
            try:
                classes[str(name)] = seconds(period)
            except ValueError as error:
                self.document.add(("classes", name), str(error))
                classes[str(name)] = 1.0
        return classes or DEFAULT_CLASSES

    def _endpoints(self) -> dict[str, Endpoint | None]:
        raw = self.document.section("endpoints", dict, required=True)
        endpoints = {
            name: self.document.parse(Endpoint, value, ("endpoints", name))
            for name, value in raw.items()
        }
        self._check_ports(endpoints)
        return {
            name: endpoint and endpoint.model_copy(update={"password": self._login(name, endpoint)})
            for name, endpoint in endpoints.items()
        }

    def _login(self, name: str, endpoint: Endpoint) -> str | None:
        """The password of a local broker."""
        path: KeyPath = ("endpoints", name)
        if endpoint.password is not None:
            what = "no password in this file: use password_file"
            self.document.add((*path, "password"), what)
        return self._password(endpoint, path)

    def _check_ports(self, endpoints: Mapping[str, Endpoint | None]) -> None:
        """A serial port has one endpoint: requests of two would collide on the line."""
        first: dict[str, str] = {}
        for name, endpoint in endpoints.items():
            if endpoint is None or endpoint.rtu is None:
                continue
            other = first.setdefault(endpoint.rtu, name)
            if other != name:
                what = f"{endpoint.rtu!r} is already the port of {other!r}"
                self.document.add(("endpoints", name, "rtu"), what)

    def _devices(
        self, site: str, classes: dict[str, float], endpoints: dict[str, Endpoint | None]
    ) -> tuple[Device, ...]:
        entries: list[tuple[int, DeviceEntry]] = []
        for index, raw in enumerate(self.document.section("devices", list, required=True)):
            entry = self.document.parse(DeviceEntry, raw, ("devices", index))
            entries.append((index, entry or _names_of(raw)))
        self._check_ids(entries)
        profiles = self._profiles(entries, classes)
        for index, entry in entries:
            self._check_endpoint(index, entry, endpoints)
        self._check_panels(entries, endpoints, profiles)
        for index, entry in entries:
            endpoint = endpoints.get(entry.endpoint)
            if endpoint and endpoint.mqtt and "id" in entry.model_fields_set:
                for key, what in misplaced(entry, endpoint, profiles.get(entry.profile)):
                    self.document.add(("devices", index, *key), what)
        return tuple(
            _device(entry, site, profiles[entry.profile])
            for _, entry in entries
            if entry.profile in profiles
        )

    def _check_ids(self, entries: list[tuple[int, DeviceEntry]]) -> None:
        first: dict[str, int] = {}
        for index, entry in entries:
            if entry.id and entry.id in first:
                line = self.document.line(("devices", first[entry.id]))
                what = f"device {entry.id!r} is already on line {line}"
                self.document.add(("devices", index, "id"), what)
            first.setdefault(entry.id, index)

    def _check_endpoint(
        self, index: int, entry: DeviceEntry, endpoints: Mapping[str, Endpoint | None]
    ) -> None:
        path: KeyPath = ("devices", index)
        if not entry.endpoint:
            return
        if entry.endpoint not in endpoints:
            hint = suggest(entry.endpoint, list(endpoints))
            self.document.add((*path, "endpoint"), f"no endpoint is named {entry.endpoint!r}{hint}")
            return
        endpoint = endpoints[entry.endpoint]
        if endpoint is None or "id" not in entry.model_fields_set:
            return
        if endpoint.mqtt and entry.unit is not None:
            self.document.add((*path, "unit"), "`unit` is for Modbus endpoints")
        for key in ("topic", "values", "stale_after", "ha_device"):
            if endpoint.is_modbus and getattr(entry, key) is not None:
                self.document.add((*path, key), f"`{key}` is for mqtt endpoints")

    def _check_panels(
        self,
        entries: list[tuple[int, DeviceEntry]],
        endpoints: Mapping[str, Endpoint | None],
        profiles: Mapping[str, Profile],
    ) -> None:
        """Devices of gb26875 endpoints, which are told apart by their addresses."""
        first: dict[tuple[str, str], int] = {}
        for index, entry in entries:
            endpoint, profile = endpoints.get(entry.endpoint), profiles.get(entry.profile)
            path: KeyPath = ("devices", index)
            if endpoint is None or profile is None or "id" not in entry.model_fields_set:
                continue
            listens = endpoint.gb26875 is not None
            if listens != (profile.panel is not None):
                what = "needs" if listens else "is not for"
                text = f"this endpoint {what} a profile with a `gb26875` section"
                self.document.add((*path, "profile"), text)
            for key in ("address", "duty_check_every"):
                if not listens and getattr(entry, key) is not None:
                    self.document.add((*path, key), f"`{key}` is for gb26875 endpoints")
            if not listens:
                continue
            for key in ("unit", "topic", "values"):
                if getattr(entry, key) is not None:
                    self.document.add((*path, key), f"`{key}` is not for gb26875 endpoints")
            if entry.address is None:
                self.document.add(path, "a device of a gb26875 endpoint needs `address`")
                continue
            earlier = first.setdefault((entry.endpoint, entry.address.lower()), index)
            if earlier != index:
                line = self.document.line(("devices", earlier))
                what = f"{entry.address!r} is already on line {line}"
                self.document.add((*path, "address"), what)

    def _profiles(
        self, entries: list[tuple[int, DeviceEntry]], classes: dict[str, float]
    ) -> dict[str, Profile]:
        """The profiles in use; a broken one that no device names is not this gateway's concern."""
        documents = self._profile_documents()
        profiles: dict[str, Profile] = {}
        checked: set[str] = set()
        for index, entry in entries:
            path = ("devices", index, "profile")
            document = documents.get(entry.profile)
            if document is None and entry.profile:
                hint = suggest(entry.profile, list(documents))
                self.document.add(path, f"no profile is named {entry.profile!r}{hint}")
            elif document is not None and entry.profile not in checked:
                checked.add(entry.profile)
                profile = load_any_profile(document)
                self.document.mistakes += document.mistakes
                if profile is not None:
                    profiles[entry.profile] = profile
                    self._check_classes(path, profile, classes)
        return profiles

    def _check_classes(self, path: KeyPath, profile: Profile, classes: dict[str, float]) -> None:
        for name in sorted(profile.classes - set(classes)):
            what = f"profile {profile.id} uses class {name!r}, which `classes` does not define"
            self.document.add(path, what + suggest(name, list(classes)))

    def _profile_documents(self) -> dict[str, Document]:
        local = _by_name(self._profile_folders())
        pushed = _by_name([self.pushed] if self.pushed else [])
        for name, document in pushed.items():
            keep_writes(document, local.get(name))
        return local | pushed

    def _profile_folders(self) -> list[Path]:
        folders: list[Path] = []
        for index, name in enumerate(self.document.section("profiles", list)):
            folder = Path(os.path.normpath(self.folder / str(name)))
            if not folder.is_dir():
                self.document.add(("profiles", index), f"no folder {name!r}")
            folders.append(folder)
        return folders or [shipped_profiles()]

    def _hash(self, devices: tuple[Device, ...]) -> str:
        content = self.document.content
        uplink = {k: v for k, v in self.document.section("uplink", dict).items() if k != "password"}
        text = repr([uplink, *(content.get(k) for k in ("gateway", "classes", "endpoints"))])
        return hashlib.sha256((text + repr(devices)).encode()).hexdigest()[:16]


def _by_name(folders: list[Path]) -> dict[str, Document]:
    documents: dict[str, Document] = {}
    for file in profile_files(folders):
        document = Document(file)
        name = str(document.content.get("profile", "")) or file.stem
        if name in documents:
            other = documents[name].file
            document.add(("profile",), f"{name!r} is already defined in {other}")
            documents[name].mistakes += document.mistakes
        else:
            documents[name] = document
    return documents


def _device(entry: DeviceEntry, site: str, profile: Profile) -> Device:
    return Device(
        id=entry.id,
        site=entry.site or site,
        profile=profile,
        endpoint=entry.endpoint,
        unit=1 if entry.unit is None else entry.unit,
        topic=entry.topic or "",
        values=tuple(entry.values.split(".")) if entry.values else (),
        stale_after_s=entry.stale_after,
        address=(entry.address or "").lower(),
        duty_check_every_s=entry.duty_check_every,
        ha_device=entry.ha_device or "",
    )


def _names_of(raw: object) -> DeviceEntry:
    """The names in an entry that has a mistake, so that mistakes in them are told as well."""
    content = cast(dict[str, object], raw) if isinstance(raw, dict) else {}
    names = {key: content.get(key) for key in ("id", "profile", "endpoint")}
    texts = {key: name if isinstance(name, str) else "" for key, name in names.items()}
    return DeviceEntry.model_construct(_fields_set=set(), **texts)
