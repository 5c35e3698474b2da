"""Which keys a device of an mqtt endpoint needs, by what its profile maps."""

from collections.abc import Iterator

from pms_edge.config.gateway_file import DeviceEntry, Endpoint
from pms_edge.config.located import KeyPath
from pms_edge.profiles.profile import Profile

Mistakes = Iterator[tuple[KeyPath, str]]


def misplaced(entry: DeviceEntry, endpoint: Endpoint, profile: Profile | None) -> Mistakes:
    """(key, what is wrong) of a device entry; an unknown profile is told elsewhere."""
    if profile is None or not profile.messages:
        if entry.topic is None:
            yield (), "a device of an mqtt endpoint needs `topic`"
        if profile and entry.ha_device:
            yield ("ha_device",), f"profile {profile.id} maps no discovered entity"
        return
    if entry.values is not None:
        yield ("values",), f"profile {profile.id} says itself where values are"
    direct = [m.topic for m in profile.messages if m.format != "homeassistant"]
    if entry.topic is None and any("{topic}" in topic for topic in direct):
        yield (), f"profile {profile.id} needs `topic`"
    yield from _discovered(entry, endpoint, profile, wanted=len(direct) < len(profile.messages))


def _discovered(
    entry: DeviceEntry, endpoint: Endpoint, profile: Profile, *, wanted: bool
) -> Mistakes:
    if not wanted:
        if entry.ha_device:
            yield ("ha_device",), f"profile {profile.id} maps no discovered entity"
        return
    if entry.ha_device is None:
        yield (), f"profile {profile.id} needs `ha_device`"
    if endpoint.discovery is None:
        what = f"profile {profile.id} needs `discovery: homeassistant` at endpoint"
        yield ("endpoint",), f"{what} {entry.endpoint!r}"
