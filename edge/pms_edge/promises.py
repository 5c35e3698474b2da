"""How often the engine may expect to hear of each point, as `birth` says it."""

from collections.abc import Mapping

from pms_edge.config.load import Config
from pms_edge.profiles.points import Point
from pms_edge.profiles.profile import Profile


def promises(config: Config) -> dict[str, dict[str, float]]:
    """Profile -> point -> the longest time between two samples, in seconds, while all is well.

    It is the period of the point's class; for one with a deadband its heartbeat, if that is longer.
    A profile whose devices publish by themselves promises nothing; texts are no samples.
    """
    profiles = {device.profile.id: device.profile for device in config.devices}
    return {name: _of(profile, config.classes) for name, profile in profiles.items()}


def _of(profile: Profile, classes: Mapping[str, float]) -> dict[str, float]:
    if profile.messages or profile.panel:
        return {}
    return {
        point.name: _longest(point, classes[point.poll_class])
        for point in profile.points
        if point.type != "string"
    }


def _longest(point: Point, period_s: float) -> float:
    return period_s if point.deadband is None else max(period_s, point.heartbeat_s)
