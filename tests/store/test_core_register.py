"""The register of equipment follows the site file and the rule packs."""

from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlmodel import col, select

from pms_iot.assets.points import PointDef
from pms_iot.assets.register import Applied, apply_site, load_site
from pms_iot.assets.tables import Asset, Document, Gateway, Point, Site
from pms_iot.kernel import auth
from pms_iot.kernel.db import transaction
from pms_iot.kernel.errors import NotFoundError
from pms_iot.kernel.text import Text
from pms_iot.kernel.users import Account, Role
from pms_iot.workorders.tables import Certificate, Technician
from pms_iot.workorders.technicians import apply_technicians
from tests.store.world import T0, minutes
from tests.unit.assets.test_sitefile import GOOD, written

TEMPERATURE = PointDef("motor_temp", Text("电机温度", "Motor temperature"), unit="°C", high=150.0)
MODE = PointDef("mode", Text("模式", "Mode"), "enum", values={1: Text("正常", "Normal")})
ONLINE = PointDef("online", Text("在线", "Online"), "bool")
PACKS = {"elevator": [TEMPERATURE, MODE], "gateway": [ONLINE]}


def apply(
    core: Engine, folder: Path, text: str = GOOD, packs: dict[str, list[PointDef]] = PACKS
) -> Applied:
    file = load_site(written(folder, text))
    with transaction(core) as session:
        return apply_site(session, file, packs, T0)


def test_register_holds_what_the_file_says(core: Engine, tmp_path: Path) -> None:
    report = apply(core, tmp_path)
    with transaction(core) as session:
        lift, second = session.exec(
            select(Asset).where(Asset.kind == "elevator").order_by(col(Asset.code))
        ).all()
        gateway = session.exec(select(Gateway)).one()
        points = session.exec(select(Point).where(Point.asset_id == lift.id)).all()
        document = session.exec(select(Document)).one()
        site = session.exec(select(Site)).one()
        of_gateway = session.exec(select(Point).where(Point.asset_id == gateway.asset_id)).one()
    assert (report.updated, report.unchanged) == (0, 0)
    assert (site.code, site.timezone) == ("riverside", "Asia/Shanghai")
    assert (lift.serial, lift.installed_on, lift.supply_id) == (
        "20190117",
        date(2019, 3, 1),
        gateway.asset_id,
    )
    assert second.parent_id == lift.id
    assert {point.key: point.values for point in points} == {
        "motor_temp": None,
        "mode": {"1": {"zh": "正常", "en": "Normal"}},
    }
    assert of_gateway.key == "online"
    assert (document.media_type, document.content) == ("application/pdf", b"%PDF-1.7")


def test_second_application_changes_nothing(core: Engine, tmp_path: Path) -> None:
    first = apply(core, tmp_path)
    assert apply(core, tmp_path) == Applied(unchanged=first.created)


def test_changes_are_taken_over_and_series_numbers_stay(core: Engine, tmp_path: Path) -> None:
    apply(core, tmp_path)
    with transaction(core) as session:
        numbers = {(p.asset_id, p.key): p.id for p in session.exec(select(Point))}
    warmer = PointDef("motor_temp", TEMPERATURE.label, unit="°C", high=160.0)
    changed = GOOD.replace("en: Lift 2", "en: Lift two").replace("serial: 20190117", "serial: X9")
    report = apply(core, tmp_path, changed, {**PACKS, "elevator": [warmer, MODE]})
    assert (report.created, report.updated) == (0, 4)  # two lifts, a point of each
    with transaction(core) as session:
        names = session.exec(select(Asset.name_en).where(Asset.kind == "elevator")).all()
        points = session.exec(select(Point)).all()
    assert sorted(names) == ["Lift 1", "Lift two"]
    assert {(p.asset_id, p.key): p.id for p in points} == numbers
    assert {point.high for point in points if point.key == "motor_temp"} == {160.0}


def test_what_leaves_the_file_stays_in_the_register(core: Engine, tmp_path: Path) -> None:
    apply(core, tmp_path)
    shorter = "\n".join(line for line in GOOD.splitlines() if "EL-02" not in line)
    report = apply(core, tmp_path, shorter, {**PACKS, "elevator": [MODE]})
    assert (report.created, report.updated) == (0, 0)
    with transaction(core) as session:
        assert len(session.exec(select(Asset)).all()) == 3
        assert len(session.exec(select(Point)).all()) == 5


def test_asset_of_another_site_is_not_taken_over(core: Engine, tmp_path: Path) -> None:
    apply(core, tmp_path)
    with pytest.raises(NotFoundError, match="asset of this site"):
        apply(core, tmp_path, GOOD.replace("code: riverside", "code: hilltop"))
    with transaction(core) as session:
        assert session.exec(select(Site.code)).all() == ["riverside"]


def test_kind_without_a_pack_is_named(core: Engine, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="rule pack 'elevator'"):
        apply(core, tmp_path, packs={})


def test_technicians_get_accounts_once(core: Engine, tmp_path: Path) -> None:
    file = load_site(written(tmp_path, GOOD))
    with transaction(core) as session:
        passwords = apply_technicians(session, file.technicians, T0)
    assert list(passwords) == ["zhang"]
    renewed = load_site(written(tmp_path, GOOD.replace("2028-05-01", "2032-05-01")))
    with transaction(core) as session:
        assert apply_technicians(session, renewed.technicians, T0) == {}
        assert session.exec(select(Technician)).one().skills == ["lift_mechanic"]
        assert session.exec(select(Certificate)).one().valid_until == date(2032, 5, 1)
        account = session.exec(select(Account)).one()
        assert (account.role, account.display_name) == (Role.TECHNICIAN, "张师傅")
    with transaction(core) as session:
        assert auth.log_in(session, "zhang", passwords["zhang"], minutes(1), days=1) is not None
