"""Profiles of fire panels that are reached through a transmission device: data, no registers."""

import math
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from pms_edge.config.fields import Strict
from pms_edge.config.located import Document
from pms_edge.gb26875.mapping import AnalogKey, AnalogPoint, PanelMap
from pms_edge.gb26875.objects import ANALOG_STEP, System
from pms_edge.gb26875.panel import BUILT_IN
from pms_edge.profiles.points import Bounds, Confidence, Name
from pms_edge.profiles.profile import Profile, ProfileId, ReadLimits, load_profile

SECTION = "gb26875"


class _SystemEntry(Strict):
    type: int = Field(ge=0, le=255)
    address: int = Field(ge=0, le=255)


class _AnalogEntry(Strict):
    name: Name
    component: int = Field(ge=0, le=255)
    zone: int = Field(ge=0, le=65535)
    point: int = Field(ge=0, le=65535)
    analog: int = Field(ge=1, le=255)
    scale: float = 1
    unit: str = ""
    range: Bounds | None = None


class _Section(Strict):
    systems: tuple[_SystemEntry, ...] = Field((), max_length=100)
    analogs: tuple[Any, ...] = ()


class _Head(Strict):
    profile: ProfileId
    version: int = Field(ge=1)
    measurement: Name
    source: str = ""
    confidence: Confidence | None = None
    gb26875: Any
    writes: list[Any] = Field(
        [], max_length=0, description="supported: fire panels are only read, leave `writes` empty"
    )


def load_any_profile(document: Document) -> Profile | None:
    """The profile in `document`, of either sort; mistakes as with `load_profile`."""
    return _load_panel(document) if SECTION in document.content else load_profile(document)


def _load_panel(document: Document) -> Profile | None:
    head = document.parse(_Head, document.content, ())
    section = document.parse(_Section, document.section(SECTION, dict), (SECTION,))
    if section is None:
        return None
    analogs = _analogs(document, section.analogs)
    if head is None or document.mistakes:
        return None
    systems = tuple(System(s.type, s.address) for s in section.systems)
    identity = (head.profile, head.version, head.measurement)
    panel = PanelMap(systems, analogs)
    sureness = (head.confidence, head.source)
    return Profile(*identity, (), ReadLimits(), (), document.file, *sureness, panel=panel)


def _analogs(document: Document, entries: Sequence[Any]) -> dict[AnalogKey, AnalogPoint]:
    analogs: dict[AnalogKey, AnalogPoint] = {}
    names = set(BUILT_IN)
    for index, raw in enumerate(entries):
        path = (SECTION, "analogs", index)
        entry = document.parse(_AnalogEntry, raw, path)
        if entry is None:
            continue
        key = AnalogKey(entry.component, entry.zone, entry.point, entry.analog)
        if entry.name in names:
            document.add((*path, "name"), f"a point {entry.name!r} is there already")
        if key in analogs:
            document.add(path, f"the same value is already {analogs[key].name!r}")
        if entry.scale == 0:
            document.add((*path, "scale"), "scale 0 would make every value the same")
        if entry.analog not in ANALOG_STEP and entry.analog < 128:
            document.add((*path, "analog"), f"{entry.analog} is reserved by table 8")
        names.add(entry.name)
        low, high = entry.range or (-math.inf, math.inf)
        analogs[key] = AnalogPoint(entry.name, entry.scale, low, high)
    return analogs
