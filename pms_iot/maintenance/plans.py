"""The plans of each asset, kept in step with the rule packs and with what was done before."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from sqlmodel import Session, col, select

from pms_iot.assets.tables import Asset
from pms_iot.kernel.db import insert_new
from pms_iot.maintenance import due
from pms_iot.maintenance.plan import PlanTemplate
from pms_iot.maintenance.tables import MaintenancePlan, Occurrence


@dataclass(slots=True)
class PlanSync:
    """What `sync_plans` did. orphaned: plans whose template the rule packs no longer have."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    orphaned: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])


def sync_plans(
    session: Session,
    templates: Iterable[PlanTemplate],
    assets: Sequence[Asset],
    today: date,
    last_done: Mapping[tuple[str, str], date] | None = None,
) -> PlanSync:
    """Gives every asset the plans of its kind. Idempotent; no plan is deleted or switched off.

    `last_done` maps (asset code, plan name without the kind) to a date: the calendar counts from
    it. Without one it counts from `today`. A date later than the one on record counts as done then.
    Dates that had passed before the plan was known are not made up: the newest of them is due.
    """
    report = PlanSync()
    by_id = {template.id: template for template in templates}
    known = {(plan.asset_id, plan.template): plan for plan in session.exec(select(MaintenancePlan))}
    for asset in assets:
        for template in by_id.values():
            if template.kind == asset.kind:
                done_on = (last_done or {}).get((asset.code, template.id.partition(".")[2]))
                plan = known.get((asset.id or 0, template.id))
                _sync(session, report, plan, asset, template, today, done_on)
    report.orphaned = [
        (plan.asset_id, plan.template) for plan in known.values() if plan.template not in by_id
    ]
    session.flush()
    return report


def _sync(
    session: Session,
    report: PlanSync,
    plan: MaintenancePlan | None,
    asset: Asset,
    template: PlanTemplate,
    today: date,
    done_on: date | None,
) -> None:
    if plan is None:
        insert_new(session, _new_plan(asset, template, today, done_on))
        report.created += 1
    elif _update(session, plan, template, today, done_on):
        report.updated += 1
    else:
        report.unchanged += 1


def _new_plan(
    asset: Asset, template: PlanTemplate, today: date, done_on: date | None
) -> MaintenancePlan:
    assert asset.id is not None
    plan = MaintenancePlan(
        asset_id=asset.id,
        template=template.id,
        anchor_on=done_on or today,
        last_done_on=done_on,
        by_meter=template.meter is not None,
    )
    schedule(plan, template, _first_due(plan.anchor_on, template, today))
    return plan


def _first_due(anchor: date, template: PlanTemplate, today: date) -> date | None:
    if template.every is None:
        return None
    passed = due.newest_by(anchor, template.every, today)
    return passed or due.next_after(anchor, template.every, today)


def _update(
    session: Session,
    plan: MaintenancePlan,
    template: PlanTemplate,
    today: date,
    done_on: date | None,
) -> bool:
    before = plan.model_dump()
    plan.by_meter = template.meter is not None
    if done_on is not None and (plan.last_done_on is None or done_on > plan.last_done_on):
        plan.anchor_on, plan.last_done_on, plan.meter_bases = done_on, done_on, {}
        schedule(plan, template, _unused(session, plan, template, today))
    elif (plan.next_due_on is None) != (template.every is None):  # the calendar came or went
        schedule(plan, template, _unused(session, plan, template, today))
    else:
        schedule(plan, template, plan.next_due_on)  # the early window may have changed
    session.add(plan)
    return plan.model_dump() != before


def _unused(
    session: Session, plan: MaintenancePlan, template: PlanTemplate, today: date
) -> date | None:
    """The first due date later than every occurrence on record."""
    first = _first_due(plan.anchor_on, template, today)
    newest = newest_occurrence(session, plan)
    if first is None or template.every is None or newest is None or first > newest:
        return first
    return due.next_after(plan.anchor_on, template.every, newest)


def schedule(plan: MaintenancePlan, template: PlanTemplate, next_due_on: date | None) -> None:
    """Sets the plan's next due date, and with it the day on which its order opens."""
    plan.next_due_on = next_due_on
    early = timedelta(days=template.early_days)
    plan.opens_on = None if next_due_on is None else next_due_on - early


def newest_occurrence(session: Session, plan: MaintenancePlan) -> date | None:
    """The latest due date that has a row, whatever became of it."""
    rows = select(Occurrence).where(Occurrence.plan_id == plan.id)
    newest = session.exec(rows.order_by(col(Occurrence.due_on).desc())).first()
    return newest.due_on if newest is not None else None
