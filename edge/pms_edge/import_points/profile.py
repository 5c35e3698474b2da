"""Imported points as the text of a profile, checked as any other profile is."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from pms_edge.config.located import Document, Mistake
from pms_edge.import_points.rows import Imported
from pms_edge.profiles.profile import load_profile


class Identity(NamedTuple):
    profile: str
    measurement: str
    source: str
    confidence: str = "transcribed"


def profile_text(points: Sequence[Imported], identity: Identity) -> str:
    """YAML with one line for each point, below a fixed number of lines."""
    lines = [
        f"profile: {json.dumps(identity.profile)}",
        "version: 1",
        f"measurement: {json.dumps(identity.measurement)}",
        f"confidence: {identity.confidence}",
        f"source: {json.dumps(identity.source, ensure_ascii=False)}",
        "points:",
    ]
    return "\n".join([*lines, *(_line(point) for point in points), "writes: []", ""])


HEAD_LINES = 6


def check_points(
    file: str, points: Sequence[Imported], identity: Identity
) -> tuple[list[Mistake], list[Mistake]]:
    """Mistakes that the profile itself would have: of its rows, and of the rest."""
    document = Document("profile", profile_text(points, identity))
    load_profile(document)
    rows: list[Mistake] = []
    others: list[Mistake] = []
    for mistake in document.mistakes:
        index = mistake.line - HEAD_LINES - 1
        if 0 <= index < len(points):
            key = mistake.path.rpartition("]")[2].lstrip(".")
            what = _with_rows(mistake.what, points)
            rows.append(Mistake(file, points[index].row, key, what))
        else:
            others.append(mistake)
    return rows, others


def _with_rows(what: str, points: Sequence[Imported]) -> str:
    """Lines of the profile, which nobody has seen yet, as rows of the table."""
    head, found, line = what.rpartition("is already on line ")
    return f"{head}is already in row {points[int(line) - HEAD_LINES - 1].row}" if found else what


def _line(point: Imported) -> str:
    entry = {k: v for k, v in point.entry.items() if not _is_default(k, v)}
    text = ", ".join(f"{key}: {_value(key, value)}" for key, value in entry.items())
    label = "".join(c if c.isprintable() else " " for c in point.label)
    return f"  - {{{text}}}  # {label}"


def _is_default(key: str, value: Any) -> bool:
    return (key, value) in (("scale", 1.0), ("offset", 0.0), ("unit", ""), ("kind", "holding")) or (
        value is None
    )


def _value(key: str, value: Any) -> str:
    if key == "range":
        return f"[{', '.join(f'{bound:g}' for bound in value)}]"
    if isinstance(value, float):
        return f"{value:.12g}"
    return json.dumps(value, ensure_ascii=False) if key == "unit" else str(value)
