"""All formulas by name."""

from collections.abc import Mapping

from pms_iot.derived.formula import Formula
from pms_iot.derived.physics import affinity, cycles, energy, pit, plain, pressure

_FAMILIES = (affinity, cycles, energy, pit, plain, pressure)
FORMULAS: Mapping[str, Formula] = {
    formula.name: formula for family in _FAMILIES for formula in family.FORMULAS
}
