"""What a message to people says of why an alert fired."""

from collections.abc import Callable, Mapping

from sqlmodel import Session, col, select

from pms_iot.alerts.tables import Alert
from pms_iot.assets.tables import Asset, Site
from pms_iot.kernel.text import Text
from pms_iot.rulepacks import RulePack
from pms_iot.web.reader import Reader
from pms_iot.web.why import why


def teller(packs: Mapping[str, RulePack]) -> Callable[[Session, Alert], Text]:
    """One sentence in each language, with times in the zone of the alert's site."""
    readers = Reader(packs, "zh"), Reader(packs, "en")

    def tell(session: Session, alert: Alert) -> Text:
        zone = select(Site.timezone).join(Asset, col(Asset.site_id) == col(Site.id))
        at = session.exec(zone.where(Asset.id == alert.asset_id)).one()
        return Text(*(why(reader, alert, at) for reader in readers))

    return tell
