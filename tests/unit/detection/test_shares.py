"""The caps of an asset and a site are shared by their scores."""

import pytest

from pms_iot.assets.catalog import SeriesInfo
from pms_iot.detection.shares import Shares
from pms_iot.feedback.caps import Caps

SITES = {"EL-01": "north", "EL-02": "north", "EL-03": "south"}


def info(asset: str, point: str) -> SeriesInfo:
    return SeriesInfo(
        0, 0, asset, SITES[asset], "lift", point, "number", "", "", "", None, None, None,
        derived="." in point,
    )  # fmt: skip


def watched(*, el_01: int, el_02: int = 0, el_03: int = 0) -> list[SeriesInfo]:
    """So many points of each lift, with all that detectors make of them."""
    numbers = {"EL-01": el_01, "EL-02": el_02, "EL-03": el_03}
    ends = ("", ".anomaly", ".excess", ".lo", ".hi", ".rate")
    return [
        info(asset, f"p{n}{end}") for asset, count in numbers.items() for n in range(count) for end in ends
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("infos", "share"),
    [
        (watched(el_01=1), 1.0),  # its own target
        (watched(el_01=4), 0.5),  # of its asset: 2 for 4
        (watched(el_01=1, el_02=19), 0.5),  # of its site: 10 for 20
        (watched(el_01=1, el_03=500), 1.0),  # another site's are nothing to it
        (watched(el_01=40, el_02=10), 0.05),  # the least of all
    ],
)
def test_a_series_has_its_share_of_the_caps(infos: list[SeriesInfo], share: float) -> None:
    shares = Shares(Caps(asset_month=2, site_month=10), infos)
    assert shares.of(info("EL-01", "p0"), 1.0) == pytest.approx(share)
    assert Shares(None, infos).of(info("EL-01", "p0"), 1.0) == 1.0
