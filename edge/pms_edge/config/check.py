"""`pms-edge check`: every mistake of gateway files and profiles, golden vectors included."""

import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pms_edge.config.load import load_config
from pms_edge.config.located import ConfigError, Document, Mistake
from pms_edge.decode.decoder import BAD, GOOD, UNCERTAIN, Decoder, Raw
from pms_edge.gb26875.profile import load_any_profile
from pms_edge.mqtt_in.reading import trials
from pms_edge.profiles.profile import Golden, Profile


def check_file(file: Path, env: Mapping[str, str]) -> list[Mistake]:
    """Mistakes of one gateway file (with the profiles it uses) or of one profile."""
    document = Document(file)
    if document.mistakes:
        return document.mistakes
    if "profile" in document.content and "devices" not in document.content:
        profile = load_any_profile(document)
        return document.mistakes if profile is None else check_goldens(profile)
    try:
        config = load_config(file, env)
    except ConfigError as error:
        return error.mistakes
    profiles = {device.profile.id: device.profile for device in config.devices}
    return [mistake for profile in profiles.values() for mistake in check_goldens(profile)]


def check_goldens(profile: Profile) -> list[Mistake]:
    """Runs the profile's own `tests`."""
    document = Document(profile.file)
    for golden in profile.goldens:
        for name, expected in golden.expect.items():
            wrong = _difference(profile, golden, name, expected)
            if wrong:
                document.add(("tests", golden.index, "expect", name), wrong)
    for message, test, name, expected, found in trials(profile.messages):
        wrong = found if isinstance(found, str) else _wrong(found.value, found.quality, expected)
        if wrong:
            document.add(("mqtt", message, "tests", test, "expect", name), wrong)
    return document.mistakes


def _difference(profile: Profile, golden: Golden, name: str, expected: Any) -> str:
    point = next(p for p in profile.points if p.name == name)
    count = len(golden.registers)
    if point.address < golden.address or point.end > golden.address + count:
        return f"registers {point.address}..{point.end - 1} of this point are not in `read`"
    wire = struct.pack(f">{count}H", *golden.registers)
    decoded = Decoder([point], start=golden.address).decode(wire)
    if point.type == "string":
        return _text_difference(decoded.extra.texts[name] if decoded.extra else None, expected)
    value = decoded.values[0]
    return _wrong(value, decoded.qualities[0] if decoded.qualities else GOOD, expected)


def _wrong(value: Raw, quality: int, expected: Any) -> str:
    found = {GOOD: f"{value!r}", UNCERTAIN: f"uncertain ({value!r})", BAD: "bad"}[quality]
    if expected in ("bad", None):
        same = quality == BAD
    elif expected == "uncertain":
        same = quality == UNCERTAIN
    elif isinstance(expected, str):
        return f"{expected!r} is not a number, bad or uncertain"
    else:
        same = quality != BAD and math.isclose(value, expected, rel_tol=1e-6, abs_tol=1e-9)
    return "" if same else f"decodes to {found}, expected {expected!r}"


def _text_difference(text: str | None, expected: Any) -> str:
    found = "bad" if text is None else repr(text)
    same = text is None if expected in ("bad", None) else text == expected
    return "" if same else f"decodes to {found}, expected {expected!r}"
