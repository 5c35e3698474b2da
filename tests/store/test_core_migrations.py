"""The revisions lead to the tables that the code has, from empty and from an older store with rows."""

import sqlite3
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text
from sqlmodel import SQLModel, select

from pms_iot.alerts import tables as alerts
from pms_iot.assets.tables import Asset, Point, Site
from pms_iot.feedback import tables as feedback
from pms_iot.kernel import auth, migrations, snapshots
from pms_iot.kernel.db import open_engine, transaction
from pms_iot.kernel.users import Account, Role
from pms_iot.maintenance import tables as maintenance
from pms_iot.notify import tables as notify
from pms_iot.telemetry import tables as telemetry
from pms_iot.telemetry.ledger import tables as ledger
from pms_iot.workorders import tables as workorders

# Importing them is what fills the metadata.
MODULES = (alerts, auth, feedback, ledger, maintenance, notify, snapshots, telemetry, workorders)


@pytest.fixture
def empty(core_url: str) -> Generator[Engine]:
    engine = open_engine(core_url)
    yield engine
    engine.dispose()


def differences(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return compare_metadata(context, SQLModel.metadata)


def test_upgrade_from_empty_gives_the_tables_of_the_code(empty: Engine) -> None:
    migrations.upgrade(empty)
    assert differences(empty) == []
    assert {"alert", "work_order", "occurrence", "outbox_message"} <= set(
        inspect(empty).get_table_names()
    )


def test_the_newest_revision_is_the_end_of_the_chain() -> None:
    folder = str(Path(migrations.__file__).parent)
    assert ScriptDirectory(folder).get_heads() == [migrations.newest()]


def test_comparison_would_notice_a_missing_index(empty: Engine) -> None:
    migrations.upgrade(empty)
    with transaction(empty) as session:
        session.connection().execute(text("DROP INDEX work_order_one_live"))
    assert differences(empty) != []


def test_upgrade_keeps_the_rows_of_the_older_store(empty: Engine) -> None:
    migrations.upgrade(empty, "0001")
    assert "work_order" not in inspect(empty).get_table_names()
    with transaction(empty) as session:
        site = Site(code="riverside", name_zh="滨河", name_en="Riverside")
        session.add(site)
        session.flush()
        asset = Asset(
            code="EL-01", site_id=site.id or 0, kind="elevator", name_zh="梯", name_en="Lift"
        )
        session.add(asset)
        session.flush()
        values = {"1": {"zh": "正常", "en": "Normal"}}
        point = Point(
            asset_id=asset.id or 0, key="mode", label_zh="模", label_en="Mode", values=values
        )
        session.add(point)
        auth.create_account(
            session,
            username="manager",
            password="secret words",
            role=Role.MANAGER,
            now=datetime(2026, 1, 1, tzinfo=UTC),
        )
    migrations.upgrade(empty)
    assert differences(empty) == []
    with transaction(empty) as session:
        assert session.exec(select(Asset)).one().code == "EL-01"
        assert session.exec(select(Point)).one().values == {"1": {"zh": "正常", "en": "Normal"}}
        account = session.exec(select(Account)).one()
        assert account.created_at == datetime(2026, 1, 1, tzinfo=UTC)
        assert account.role is Role.MANAGER


def test_second_upgrade_changes_nothing_and_foreign_keys_stay_on(empty: Engine) -> None:
    migrations.upgrade(empty)
    migrations.upgrade(empty)
    assert differences(empty) == []
    if empty.dialect.name == "sqlite":
        with empty.connect() as connection:
            driver: Any = connection.connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            assert driver.execute("PRAGMA foreign_keys").fetchone() == (1,)


def test_engines_that_start_together_upgrade_once(empty: Engine) -> None:
    url = empty.url.render_as_string(hide_password=False)

    def start(_: int) -> None:
        engine = open_engine(url)
        migrations.upgrade(engine)
        engine.dispose()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(start, range(4)))
    assert differences(empty) == []


def test_database_refuses_a_second_live_order_of_one_origin(core: Engine) -> None:
    order = (
        "INSERT INTO work_order (origin, kind, asset_id, title_zh, title_en, priority, status,"
        " skill, people, statutory, opened_at, reopened, version) VALUES ('fault:EL-01',"
        " 'corrective', 1, 'z', 'e', 'P3', :status, '', 1, false, '2026-01-01', 0, 1)"
    )
    with transaction(core) as session:
        site = Site(code="s", name_zh="s", name_en="s")
        session.add(site)
        session.flush()
        session.add(
            Asset(id=1, code="EL-01", site_id=site.id or 0, kind="x", name_zh="", name_en="")
        )
        session.flush()
        for status in ("closed", "cancelled", "closed", "new"):
            session.connection().execute(text(order), {"status": status})
    with (
        pytest.raises(Exception, match=r"(?i)unique|work_order_one_live"),
        transaction(core) as session,
    ):
        session.connection().execute(text(order), {"status": "done"})
