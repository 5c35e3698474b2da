"""The site file: what stands on a property, written by hand in YAML. See docs/site-file.md."""

from collections.abc import Collection, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import RoundTripConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import ScalarNode

from pms_iot.kernel.errors import ConfigError
from pms_iot.kernel.text import Text

MAX_DOCUMENT_BYTES = 50 * 1024 * 1024
Where = tuple[str | int, ...]


class SiteFileError(ConfigError):
    """Everything that is wrong with a site file; `problems` has one `file:line: key: problem` each."""

    def __init__(self, file: str, problems: Sequence[str]) -> None:
        super().__init__(file, f"{len(problems)} problem(s)\n" + "\n".join(problems))
        self.problems = tuple(problems)


class _Entry(BaseModel):
    # A serial or registration number may look like a number.
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class Label(_Entry):
    """Words in both languages."""

    zh: str = Field(min_length=1)
    en: str = Field(min_length=1)

    @property
    def text(self) -> Text:
        return Text(self.zh, self.en)


class SiteEntry(_Entry):
    code: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*$")  # a level of MQTT topics
    name: Label
    timezone: str = "Asia/Shanghai"
    address: str = ""


class GatewayEntry(_Entry):
    id: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*$")
    name: Label


class DocumentEntry(_Entry):
    title: str = Field(min_length=1)
    file: Path  # relative to the site file
    category: str = Field(
        "manual", pattern="^(manual|certificate|inspection_report|warranty|drawing)$"
    )


class PlanEntry(_Entry):
    last_done_on: date


class AssetEntry(_Entry):
    id: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*$")
    kind: str
    name: Label
    gateway: str | None = None
    parent: str | None = None
    location: Label | None = None
    model: str = ""
    maker: str = ""
    serial: str = ""
    purchased_on: date | None = None
    installed_on: date | None = None
    warranty_until: date | None = None
    registration_no: str = ""
    registered_on: date | None = None
    inspected_on: date | None = None
    inspection_due_on: date | None = None
    in_service: bool = True
    retired_on: date | None = None
    documents: tuple[DocumentEntry, ...] = ()
    plans: dict[str, PlanEntry] = {}


class CertificateEntry(_Entry):
    code: str = Field(min_length=1)
    number: str = ""
    valid_from: date | None = None
    valid_until: date | None = None


class TechnicianEntry(_Entry):
    username: str = Field(min_length=1)
    name: str = Field(min_length=1)
    skills: tuple[str, ...] = ()
    certificates: tuple[CertificateEntry, ...] = ()


class SiteFile(_Entry):
    """One property: its gateways, its equipment, its technicians."""

    site: SiteEntry
    gateways: tuple[GatewayEntry, ...] = ()
    assets: tuple[AssetEntry, ...] = ()
    technicians: tuple[TechnicianEntry, ...] = ()
    folder: Path = Field(Path(), exclude=True, init=False)

    @property
    def last_done(self) -> dict[tuple[str, str], date]:
        """(asset, plan name) -> when that plan was last carried out."""
        return {
            (asset.id, plan): entry.last_done_on
            for asset in self.assets
            for plan, entry in asset.plans.items()
        }


def load_site(path: Path, kinds: Collection[str] | None = None) -> SiteFile:
    """Reads a site file. Raises SiteFileError with every mistake in it, each with its line.

    `kinds`: the kinds of equipment that the rule packs know; without it kinds are not checked.
    """
    name = path.name
    try:
        yaml = YAML()
        yaml.Constructor = _DatesAsText
        tree = yaml.load(path)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        raise SiteFileError(name, [f"{name}:{line}: {error.problem}"]) from error
    except (YAMLError, UnicodeDecodeError, OSError) as error:
        raise SiteFileError(name, [f"{name}:1: cannot be read: {error}"]) from error
    try:
        loaded = SiteFile.model_validate(tree)
    except ValidationError as error:
        mistakes = [(item["loc"], item["msg"]) for item in error.errors()]
        raise _error(name, tree, mistakes) from error
    loaded = loaded.model_copy(update={"folder": path.parent})
    if found := list(_contradictions(loaded, kinds)):
        raise _error(name, tree, found)
    return loaded


class _DatesAsText(RoundTripConstructor):
    """Leaves dates to the model, which can say on which line 30 February stands."""


def _as_text(_: RoundTripConstructor, node: ScalarNode) -> str:
    return str(node.value)


_DatesAsText.add_constructor("tag:yaml.org,2002:timestamp", _as_text)


def _error(name: str, tree: Any, mistakes: Sequence[tuple[Where, str]]) -> SiteFileError:
    return SiteFileError(
        name,
        [
            f"{name}:{_line(tree, where)}: {'.'.join(map(str, where)) or 'file'}: {what}"
            for where, what in mistakes
        ],
    )


def _line(tree: Any, where: Where) -> int:
    """The line of the value at `where`, or of what should hold it."""
    line = 1
    for part in where:
        if isinstance(tree, CommentedMap) and part in tree:
            line = tree.lc.key(part)[0] + 1
        elif isinstance(tree, CommentedSeq) and isinstance(part, int) and part < len(tree):
            line = tree.lc.item(part)[0] + 1
        else:
            break
        tree = tree[part]
    return line


def _contradictions(file: SiteFile, kinds: Collection[str] | None) -> Iterator[tuple[Where, str]]:
    """What each entry alone does not show."""
    if not _is_zone(file.site.timezone):
        yield ("site", "timezone"), f"{file.site.timezone!r} is not a time zone"
    yield from _doubles(file)
    gateways = {gateway.id for gateway in file.gateways}
    parents = {asset.id: asset.parent for asset in file.assets}
    for i, asset in enumerate(file.assets):
        if kinds is not None and asset.kind not in kinds:
            yield ("assets", i, "kind"), f"no rule pack for {asset.kind!r}"
        if asset.gateway is not None and asset.gateway not in gateways:
            yield ("assets", i, "gateway"), f"no gateway {asset.gateway!r} in this file"
        if asset.parent is not None and asset.parent not in parents:
            yield ("assets", i, "parent"), f"no asset {asset.parent!r} in this file"
        elif _is_own_ancestor(asset.id, parents):
            yield ("assets", i, "parent"), f"{asset.id!r} stands above itself"
        for j, document in enumerate(asset.documents):
            if problem := _unreadable(file.folder / document.file):
                yield ("assets", i, "documents", j, "file"), f"{document.file}: {problem}"


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, not a name, a folder of zones
        return False
    return True


def _doubles(file: SiteFile) -> Iterator[tuple[Where, str]]:
    codes: set[str] = set()
    for section, entries in (("gateways", file.gateways), ("assets", file.assets)):
        for i, entry in enumerate(entries):
            if entry.id in codes:
                yield (section, i, "id"), f"{entry.id!r} stands here twice"
            codes.add(entry.id)
    people: set[str] = set()
    for i, technician in enumerate(file.technicians):
        if technician.username in people:
            yield ("technicians", i, "username"), f"{technician.username!r} stands here twice"
        people.add(technician.username)


def _is_own_ancestor(code: str, parents: dict[str, str | None]) -> bool:
    above, seen = parents.get(code), set[str]()
    while above is not None and above not in seen:
        if above == code:
            return True
        seen.add(above)
        above = parents.get(above)
    return False


def _unreadable(path: Path) -> str | None:
    if not path.is_file():
        return "no such file"
    size = path.stat().st_size
    return f"larger than {MAX_DOCUMENT_BYTES >> 20} MB" if size > MAX_DOCUMENT_BYTES else None
