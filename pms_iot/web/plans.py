"""Maintenance plans as the pages name them."""

from collections.abc import Mapping

from pms_iot.maintenance.plan import PlanTemplate
from pms_iot.web.deps import WebDeps
from pms_iot.web.visit import Visit


def templates(deps: WebDeps) -> list[PlanTemplate]:
    """All plans of all rule packs."""
    return [plan for pack in deps.packs.values() for plan in pack.plans]


def plan_labels(visit: Visit) -> Mapping[str, str]:
    """Template id -> name in the reader's language."""
    return {plan.id: visit.text(plan.label) for plan in templates(visit.deps)}
