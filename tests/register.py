"""A register of equipment for tests that need a catalog of series and no more."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sqlalchemy import Engine
from sqlmodel import SQLModel

import pms_iot.bootstrap  # noqa: F401  # all tables: they refer to one another
from pms_iot.assets.catalog import SeriesCatalog
from pms_iot.assets.tables import Asset, Point, Site
from pms_iot.kernel.db import open_engine, transaction


def register(engine: Engine, sites: Mapping[str, Mapping[str, Sequence[str]]]) -> SeriesCatalog:
    """A catalog of {site: {"kind:asset": [point, …]}}; makes the tables that are missing."""
    SQLModel.metadata.create_all(engine)
    with transaction(engine) as session:
        for code, assets in sites.items():
            site = Site(code=code, name_zh=code, name_en=code)
            session.add(site)
            session.flush()
            assert site.id is not None
            for name, points in assets.items():
                kind, asset_code = name.split(":")
                asset = Asset(
                    code=asset_code, site_id=site.id, kind=kind, name_zh=name, name_en=name
                )
                session.add(asset)
                session.flush()
                assert asset.id is not None
                for key in points:
                    session.add(Point(asset_id=asset.id, key=key, label_zh=key, label_en=key))
    return SeriesCatalog(engine)


def small_register(directory: Path) -> SeriesCatalog:
    """Two sites; riverside has a lift and a pump, whose names need escapes."""
    lift = [f"p{i}" for i in range(20)] + ["motor_temp", "car_vib", "run"]
    sites = {
        "riverside": {
            "elevator:EL-01": lift,
            "booster_set:B S=1,α": ["flow", "in,let p=1", "temp.anomaly"],
        },
        "hill": {"elevator:EL-99": ["motor_temp"]},
    }
    return register(open_engine(f"sqlite:///{directory / 'register.db'}"), sites)
