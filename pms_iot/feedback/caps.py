"""How many unconfirmed alarms statistics may raise."""

from dataclasses import dataclass
from datetime import timedelta

WINDOW = timedelta(days=30)  # a month of the budget, in sample time


@dataclass(frozen=True, slots=True)
class Caps:
    """Unconfirmed statistical alarms of one asset, and of one site, in `WINDOW`."""

    asset_month: float = 2.0
    site_month: float = 10.0

    def share(self, own: float, *, of_asset: int, of_site: int) -> float:
        """What one of so many watched series may raise: its own target, or less where a cap is shared."""
        return min(own, self.asset_month / max(of_asset, 1), self.site_month / max(of_site, 1))
