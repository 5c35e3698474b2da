"""Takes a field that arrived unasked into the register, with its asset if that is unknown too.

What adoption writes is one transaction. The samples that were parked meanwhile follow with
`telemetry.parked.release`, which may be repeated at any time.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import structlog
from sqlmodel import Session, select

from pms_iot.assets import register
from pms_iot.assets.points import PointDef
from pms_iot.assets.tables import Asset, Site
from pms_iot.kernel.errors import NotFoundError, PmsError
from pms_iot.kernel.text import Text
from pms_iot.maintenance import due
from pms_iot.maintenance import service as maintenance
from pms_iot.rulepacks import RulePack
from pms_iot.telemetry.quarantine import NAME_LETTERS

log = structlog.get_logger()

_CODE = re.compile(r"[A-Za-z0-9][\w.-]*")  # as in site files: it stands in addresses
NOTHING = Text("", "")
Refusal = Literal["asset_elsewhere", "asset_code", "kind_missing", "name_missing", "field"]


class AdoptionRefusedError(PmsError):
    """`reason`: the asset is another site's; its code cannot be one; its kind or name was not given;
    the field's name is empty, too long or not in print."""

    def __init__(self, reason: Refusal, key: str) -> None:
        super().__init__(f"adoption refused: {reason}: {key!r}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Wish:
    """Which field is to become a point. kind and name are those of an asset that must be made first;
    label and unit count where the rule pack of the asset does not know the field."""

    site: str
    asset: str
    field: str
    kind: str = ""
    name: Text = NOTHING
    label: Text = NOTHING
    unit: str = ""


def kinds(packs: Mapping[str, RulePack]) -> list[str]:
    """What an unknown asset can be adopted as."""
    return sorted(kind for kind in packs if kind != "gateway")


def adopt(
    session: Session, packs: Mapping[str, RulePack], wish: Wish, who: str, now: datetime
) -> None:
    """Registers the field, and its asset with all points and plans of its kind. A repeat changes nothing.

    Raises AdoptionRefusedError; NotFoundError for a site that is not registered.
    """
    if not wish.field.isprintable() or not 0 < len(wish.field) <= NAME_LETTERS:
        raise AdoptionRefusedError("field", wish.field)
    asset = _known(session, wish)
    made_asset = asset is None
    if asset is None:
        asset = _made(session, packs, wish, now)
    points = dict(packs[asset.kind].points) if asset.kind in packs else {}
    points.setdefault(wish.field, _point(wish))
    if register.add_points(session, asset, list(points.values()), now) or made_asset:
        register.note_adoption(session, asset, wish.field, who, now, made_asset=made_asset)
        log.info("adopted", asset=wish.asset, field=wish.field, who=who, made_asset=made_asset)


def _known(session: Session, wish: Wish) -> Asset | None:
    try:
        return register.find_asset(session, wish.site, wish.asset)
    except NotFoundError as problem:
        if problem.what == "site":
            raise
        raise AdoptionRefusedError("asset_elsewhere", wish.asset) from problem


def _made(session: Session, packs: Mapping[str, RulePack], wish: Wish, now: datetime) -> Asset:
    if not _CODE.fullmatch(wish.asset):
        raise AdoptionRefusedError("asset_code", wish.asset)
    if wish.kind not in kinds(packs):
        raise AdoptionRefusedError("kind_missing", wish.kind)
    if not (wish.name.zh and wish.name.en):
        raise AdoptionRefusedError("name_missing", wish.asset)
    asset = register.add_asset(session, wish.site, wish.asset, wish.kind, wish.name)
    zone = session.exec(select(Site.timezone).where(Site.code == wish.site)).one()
    maintenance.sync_plans(session, packs[wish.kind].plans, [asset], due.today_in(zone, now))
    return asset


def _point(wish: Wish) -> PointDef:
    zh, en = wish.label.zh, wish.label.en
    return PointDef(
        wish.field, Text(zh or en or wish.field, en or zh or wish.field), unit=wish.unit
    )
