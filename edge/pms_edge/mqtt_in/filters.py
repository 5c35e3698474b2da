"""Topic filters (MQTT 3.1.1, 4.7)."""


def valid_filter(text: str) -> str:
    """The filter itself. Raises ValueError when a wildcard is not a whole level, or # not the last."""
    levels = text.split("/")
    mixed = any(level not in ("+", "#") and set(level) & set("+#\0") for level in levels)
    if not text or mixed or "#" in levels[:-1] or len(text) > 1000:
        raise ValueError(f"{text!r} is not an MQTT topic filter")
    return text


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a topic lies under a filter (MQTT 3.1.1, 4.7): `$SYS` only under one that names it."""
    if topic.startswith("$") != topic_filter.startswith("$"):
        return False
    wanted, levels = topic_filter.split("/"), topic.split("/")
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index >= len(levels) or level not in ("+", levels[index]):
            return False
    return len(wanted) == len(levels)


def covers(wide: str, narrow: str) -> bool:
    """Whether every topic under `narrow` lies under `wide`: then one subscription is enough.

    Two that overlap may bring a message twice (MQTT 3.1.1, 3.3.5).
    """
    wanted, levels = wide.split("/"), narrow.split("/")
    if narrow.startswith("$") != wide.startswith("$"):
        return False
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index >= len(levels) or levels[index] == "#" or level not in ("+", levels[index]):
            return False
    return len(wanted) == len(levels)


def fewest(filters: list[str]) -> list[str]:
    """`filters` without those that another one covers, sorted."""
    unique = sorted(set(filters))
    return [f for f in unique if not any(o != f and covers(o, f) for o in unique)]
