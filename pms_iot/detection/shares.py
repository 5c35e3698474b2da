"""What each watched series may raise of the alarms that its asset and its site may raise together."""

from collections import Counter
from collections.abc import Iterable

from pms_iot.assets.catalog import SeriesInfo
from pms_iot.assets.points import is_statistical
from pms_iot.feedback.caps import Caps


class Shares:
    """The caps, divided by the scores of statistics that there are. caps None: there are none."""

    def __init__(self, caps: Caps | None, infos: Iterable[SeriesInfo]) -> None:
        self._caps = caps
        scores = {  # `.anomaly` and `.excess` of one point are one
            (info.asset, info.site, info.point.rpartition(".")[0])
            for info in infos
            if info.derived and is_statistical(info.point)
        }
        self._of_asset = Counter(asset for asset, _, _ in scores)
        self._of_site = Counter(site for _, site, _ in scores)

    def of(self, info: SeriesInfo, own: float) -> float:
        """False alarms a month that a series with a target of its own may aim at: that, or less."""
        if self._caps is None:
            return own
        of_asset, of_site = self._of_asset[info.asset], self._of_site[info.site]
        return self._caps.share(own, of_asset=of_asset, of_site=of_site)
