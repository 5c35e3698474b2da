"""Rule packs: what is known of each kind of equipment, as data. `rules/<kind>/` becomes a `RulePack`."""

from pathlib import Path

import pms_iot
from pms_iot.rulepacks.cases import check_packs
from pms_iot.rulepacks.counters import counters_of_plans
from pms_iot.rulepacks.document import PackError
from pms_iot.rulepacks.pack import RulePack, load_pack, load_packs

__all__ = [
    "PackError",
    "RulePack",
    "check_packs",
    "counters_of_plans",
    "load_pack",
    "load_packs",
    "rules_root",
]


def rules_root(rules_dir: Path | None = None) -> Path:
    """The folder of rule packs: the one given, else the one in the installed package, else the repository's."""
    if rules_dir is not None:
        return rules_dir
    package = Path(pms_iot.__file__).parent
    packaged = package / "_rules"
    return packaged if packaged.is_dir() else package.parent / "rules"
