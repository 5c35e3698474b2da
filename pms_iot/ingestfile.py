"""The ingest file: which topics of third parties are heard, and what their messages mean.

See docs/third-party-data.md.
"""

from pathlib import Path

from pydantic import Field

from pms_iot.kernel.errors import ConfigError
from pms_iot.rulepacks.document import Document, Where, read_document
from pms_iot.rulepacks.models import Number, Strict, Words, parse
from pms_iot.telemetry.jsonpath import parse_path
from pms_iot.telemetry.sources import (
    Format,
    PointMap,
    Source,
    TimeMap,
    TimeUnit,
    Topic,
    ValueType,
    places,
    text_of,
)


class IngestFileError(ConfigError):
    """Everything that is wrong with an ingest file; `problems` has one `file:line: key: problem` each."""

    def __init__(self, file: Path, problems: list[str]) -> None:
        super().__init__(str(file), f"{len(problems)} problem(s)\n" + "\n".join(problems))
        self.problems = problems


class _PointYaml(Strict):
    name: Words
    path: Words | None = None
    type: ValueType = "number"
    scale: Number = 1.0
    offset: Number = 0.0
    unit: str = ""  # says to people what the value is in; the register has its own
    values: dict[bool | int | float | str, Number] = Field(default_factory=dict)


class _TimeYaml(Strict):
    path: Words
    unit: TimeUnit


class _SourceYaml(Strict):
    topic: Words
    site: Words
    format: Format = "json"
    asset: Words | None = None
    field: Words | None = None
    points: tuple[_PointYaml, ...] = ()
    time: _TimeYaml | None = None


class _FileYaml(Strict):
    sources: tuple[_SourceYaml, ...]


def load_sources(file: Path) -> tuple[Source, ...]:
    """Raises IngestFileError with every mistake, each with its line."""
    problems: list[str] = []
    try:
        document = read_document(file, file.name, problems)
    except OSError as error:
        raise IngestFileError(file, [f"{file.name}:1: cannot be read: {error}"]) from error
    loaded = parse(_FileYaml, document, (), document.content, problems) if document else None
    sources = loaded.sources if loaded is not None else ()
    if document is not None and loaded is not None and not sources:
        problems.append(document.problem(("sources",), "is empty"))
    built: list[Source] = []
    for i, entry in enumerate(sources):
        assert document is not None
        built.append(_Checked(document, ("sources", i), problems).source(entry))
    if problems:
        raise IngestFileError(file, problems)
    return tuple(built)


class _Checked:
    """One source of the file; what an entry's own type does not show goes to `problems`."""

    def __init__(self, document: Document, where: Where, problems: list[str]) -> None:
        self._document, self._where, self._problems = document, where, problems

    def source(self, entry: _SourceYaml) -> Source:
        topic = Topic(entry.topic)
        if problem := topic.problem():
            self._wrong(("topic",), problem)
        is_line = entry.format == "line"
        asset = entry.asset or ("{tag:asset}" if is_line else "{asset}")
        self._template("asset", asset, topic, {"measurement"} if is_line else set(), is_line)
        self._template("field", entry.field or "{field}", topic, {"measurement", "field"}, True)
        if entry.field is not None and "{field}" not in entry.field:
            self._wrong(("field",), "without {field} all fields of a line would be one point")
        for key in ("points", "time") if is_line else ("field",):
            if getattr(entry, key):
                self._wrong((key,), f"has no meaning with format: {entry.format}")
        if entry.format == "plain" and len(entry.points) != 1:
            self._wrong(("points",), "a plain message has exactly one point")
        if entry.format == "plain" and entry.time is not None:
            self._wrong(("time",), "has no meaning with format: plain")
        return Source(
            topic,
            entry.site,
            entry.format,
            asset,
            entry.field or "{field}",
            self._points(entry),
            self._time(entry.time),
        )

    def _template(self, key: str, template: str, topic: Topic, names: set[str], tags: bool) -> None:
        for place in places(template):
            if place not in topic.names | names and not (tags and place.startswith("tag:")):
                self._wrong((key,), f"the topic has no {{{place}}}")
        if key == "asset" and not template.replace("{", "").replace("}", "").strip():
            self._wrong((key,), "names nothing")

    def _points(self, entry: _SourceYaml) -> tuple[PointMap, ...]:
        names = [point.name for point in entry.points]
        for i, point in enumerate(entry.points):
            where = ("points", i)
            if point.name in names[:i]:
                self._wrong((*where, "name"), f"{point.name!r} stands here twice")
            if (entry.format == "json") != (point.path is not None):
                said = "json needs a path" if entry.format == "json" else "has no meaning here"
                self._wrong((*where, "path"), said)
            if (point.type == "enum") != bool(point.values):
                self._wrong((*where, "values"), "belong to type: enum, which needs them")
        return tuple(self._point(i, point) for i, point in enumerate(entry.points))

    def _point(self, i: int, point: _PointYaml) -> PointMap:
        values = {text_of(code): number for code, number in point.values.items()}
        path = self._path(("points", i, "path"), point.path)
        return PointMap(point.name, path, point.type, point.scale, point.offset, values)

    def _time(self, entry: _TimeYaml | None) -> TimeMap | None:
        if entry is None:
            return None
        return TimeMap(self._path(("time", "path"), entry.path), entry.unit)

    def _path(self, where: Where, text: str | None) -> tuple[str | int, ...]:
        if text is None:
            return ()
        try:
            return parse_path(text)
        except ValueError as error:
            self._wrong(where, str(error))
            return ()

    def _wrong(self, where: Where, what: str) -> None:
        self._problems.append(self._document.problem((*self._where, *where), what))
