"""Brings the register of equipment in step with a site file and the rule packs. Deletes nothing."""

import hashlib
import mimetypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from sqlmodel import Session, col, select

from pms_iot.assets.points import PointDef
from pms_iot.assets.sitefile import (
    AssetEntry,
    DocumentEntry,
    GatewayEntry,
    SiteFile,
    SiteFileError,
    load_site,
)
from pms_iot.assets.tables import Adoption, Asset, Document, Gateway, Point, Site
from pms_iot.kernel.db import Table
from pms_iot.kernel.errors import NotFoundError
from pms_iot.kernel.text import Text

__all__ = [
    "Applied",
    "SiteFile",
    "SiteFileError",
    "add_asset",
    "add_points",
    "apply_site",
    "find_asset",
    "load_site",
    "note_adoption",
]
_Row = TypeVar("_Row", bound=Table)


@dataclass(slots=True)
class Applied:
    """How many rows a site file has created, changed and left alone."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0


@dataclass(slots=True)
class _Work:
    session: Session
    now: datetime
    report: Applied = field(default_factory=Applied)

    def put(self, row: _Row, found: _Row | None) -> _Row:
        """`found` with the values that `row` sets, or `row` itself if there is none yet."""
        if found is None:
            self.session.add(row)
            self.session.flush()
            self.report.created += 1
            return row
        changes = row.model_dump(exclude_unset=True)
        if all(getattr(found, name) == value for name, value in changes.items()):
            self.report.unchanged += 1
            return found
        for name, value in changes.items():
            setattr(found, name, value)
        self.session.add(found)
        self.report.updated += 1
        return found


def apply_site(
    session: Session,
    site_file: SiteFile,
    packs_points: Mapping[str, Sequence[PointDef]],
    now: datetime,
) -> Applied:
    """Creates and updates the site, its gateways, assets, points and documents; a repeat changes nothing.

    packs_points: kind -> all points of the kind, derived ones included. What is no longer in the
    file or the packs stays in the register. Raises NotFoundError for a kind that no pack has, and
    for an asset code that belongs to another site.
    """
    work = _Work(session, now)
    site_id = _site(work, site_file)
    for gateway in site_file.gateways:
        _gateway(work, site_id, gateway, packs_points.get("gateway", ()))
    for entry in site_file.assets:
        if entry.kind not in packs_points:
            raise NotFoundError("rule pack", entry.kind)
        asset = _asset(work, site_id, entry)
        _points(work, asset, packs_points[entry.kind])
        for document in entry.documents:
            _document(work, asset, site_file, document)
    for entry in site_file.assets:  # now that all exist
        _hang(session, entry)
    session.flush()
    return work.report


def find_asset(session: Session, site: str, code: str) -> Asset | None:
    """Raises NotFoundError for a site that is not registered, or an asset that is another site's."""
    return _find(session, code, _site_id(session, site))


def add_asset(session: Session, site: str, code: str, kind: str, name: Text) -> Asset:
    """A new asset without points. Raises NotFoundError for a site that is not registered."""
    row = Asset(
        code=code, site_id=_site_id(session, site), kind=kind, name_zh=name.zh, name_en=name.en
    )
    session.add(row)
    session.flush()
    return row


def add_points(session: Session, asset: Asset, points: Sequence[PointDef], now: datetime) -> int:
    """Brings these points of an asset up to their definitions, leaves all others alone; answers how
    many are new."""
    work = _Work(session, now)
    _points(work, asset, points)
    return work.report.created


def note_adoption(
    session: Session, asset: Asset, field: str, who: str, at: datetime, *, made_asset: bool
) -> None:
    """Keeps on record who took a field into the register."""
    assert asset.id is not None
    session.add(Adoption(asset_id=asset.id, field=field, made_asset=made_asset, who=who, at=at))


def _site_id(session: Session, code: str) -> int:
    found = session.exec(select(Site.id).where(Site.code == code)).one_or_none()
    if found is None:
        raise NotFoundError("site", code)
    return found


def _site(work: _Work, file: SiteFile) -> int:
    entry = file.site
    row = Site(
        code=entry.code,
        name_zh=entry.name.zh,
        name_en=entry.name.en,
        timezone=entry.timezone,
        address=entry.address,
    )
    found = work.session.exec(select(Site).where(Site.code == entry.code)).one_or_none()
    return work.put(row, found).id or 0


def _find(session: Session, code: str, site_id: int) -> Asset | None:
    found = session.exec(select(Asset).where(Asset.code == code)).one_or_none()
    if found is not None and found.site_id != site_id:
        raise NotFoundError("asset of this site", code)
    return found


def _gateway(work: _Work, site_id: int, entry: GatewayEntry, points: Sequence[PointDef]) -> None:
    row = Asset(
        code=entry.id,
        site_id=site_id,
        kind="gateway",
        name_zh=entry.name.zh,
        name_en=entry.name.en,
    )
    asset = work.put(row, _find(work.session, entry.id, site_id))
    _points(work, asset, points)
    known = select(Gateway).where(Gateway.code == entry.id, Gateway.site_id == site_id)
    gateway = Gateway(code=entry.id, site_id=site_id, asset_id=asset.id or 0)
    work.put(gateway, work.session.exec(known).one_or_none())


_PLAIN = {
    "model",
    "maker",
    "serial",
    "purchased_on",
    "installed_on",
    "warranty_until",
    "registration_no",
    "registered_on",
    "inspected_on",
    "inspection_due_on",
    "in_service",
    "retired_on",
}


def _asset(work: _Work, site_id: int, entry: AssetEntry) -> Asset:
    row = Asset(
        code=entry.id,
        site_id=site_id,
        kind=entry.kind,
        name_zh=entry.name.zh,
        name_en=entry.name.en,
        location_zh=entry.location.zh if entry.location else "",
        location_en=entry.location.en if entry.location else "",
        **entry.model_dump(include=_PLAIN),
    )
    return work.put(row, _find(work.session, entry.id, site_id))


def _points(work: _Work, asset: Asset, points: Sequence[PointDef]) -> None:
    query = select(Point).where(Point.asset_id == asset.id)
    known = {point.key: point for point in work.session.exec(query)}
    for point in points:
        work.put(_point(asset.id or 0, point), known.get(point.key))


def _point(asset_id: int, point: PointDef) -> Point:
    values = {str(code): {"zh": text.zh, "en": text.en} for code, text in point.values.items()}
    return Point(
        asset_id=asset_id,
        key=point.key,
        type=point.type,
        unit=point.unit,
        label_zh=point.label.zh,
        label_en=point.label.en,
        low=point.low,
        high=point.high,
        period_s=point.period_s,
        derived=point.derived,
        values=values or None,
    )


def _document(work: _Work, asset: Asset, file: SiteFile, entry: DocumentEntry) -> None:
    content = (file.folder / entry.file).read_bytes()
    row = Document(
        asset_id=asset.id or 0,
        title=entry.title,
        category=entry.category,
        media_type=mimetypes.guess_type(entry.file.name)[0] or "application/octet-stream",
        sha256=hashlib.sha256(content).hexdigest(),
        content=content,
        added_at=work.now,
    )
    known = select(Document).where(
        Document.asset_id == asset.id,
        Document.title == entry.title,
        Document.category == entry.category,
    )
    found = work.session.exec(known).first()
    if found is not None and found.sha256 == row.sha256:
        row.added_at = found.added_at
    work.put(row, found)


def _hang(session: Session, entry: AssetEntry) -> None:
    """Sets what the asset is part of, and what it hangs on."""
    above = [code for code in (entry.id, entry.parent, entry.gateway) if code is not None]
    rows = session.exec(select(Asset).where(col(Asset.code).in_(above)))
    by_code = {row.code: row for row in rows}
    asset = by_code[entry.id]
    parent_id = by_code[entry.parent].id if entry.parent is not None else None
    supply_id = by_code[entry.gateway].id if entry.gateway is not None else None
    if (asset.parent_id, asset.supply_id) == (parent_id, supply_id):
        return
    asset.parent_id, asset.supply_id = parent_id, supply_id
    session.add(asset)


def zones_of(session: Session) -> dict[str, str]:
    """Site -> its IANA zone."""
    return {site.code: site.timezone for site in session.exec(select(Site))}
