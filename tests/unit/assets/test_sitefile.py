"""Site files: what a good one says, and where each mistake stands."""

from datetime import date
from pathlib import Path

import pytest

from pms_iot.assets.sitefile import SiteFileError, load_site

GOOD = """\
site: {code: riverside, name: {zh: 滨河花园, en: Riverside Gardens}, timezone: Asia/Shanghai, address: 滨河路 1 号}
gateways: [{id: gw-01, name: {zh: 网关, en: Gateway}}]
assets:
  - id: EL-01
    kind: elevator
    name: {zh: 1 号电梯, en: Lift 1}
    gateway: gw-01
    serial: 20190117
    installed_on: 2019-03-01
    documents: [{title: Manual, file: manual.pdf}]
    plans: {half_month: {last_done_on: 2026-11-08}}
  - {id: EL-02, kind: elevator, name: {zh: 2 号电梯, en: Lift 2}, parent: EL-01}
technicians: [{username: zhang, name: 张师傅, skills: [lift_mechanic], certificates: [{code: T, number: T-1, valid_until: 2028-05-01}]}]
"""


def written(folder: Path, text: str) -> Path:
    (folder / "manual.pdf").write_bytes(b"%PDF-1.7")
    path = folder / "site.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_good_file_is_read_whole(tmp_path: Path) -> None:
    site = load_site(written(tmp_path, GOOD), {"elevator"})
    lift = site.assets[0]
    assert (site.site.code, site.site.name.text.zh) == ("riverside", "滨河花园")
    assert (lift.serial, lift.installed_on) == ("20190117", date(2019, 3, 1))
    assert site.last_done == {("EL-01", "half_month"): date(2026, 11, 8)}
    assert site.technicians[0].certificates[0].valid_until == date(2028, 5, 1)
    assert site.folder == tmp_path


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("Asia/Shanghai", "Asia/Shangai", ":1: site.timezone: 'Asia/Shangai' is not a time zone"),
        ("code: riverside, ", "", ":1: site.code: Field required"),
        ("code: riverside", "code: river/side", ":1: site.code: "),
        ("    kind: elevator\n", "", ":4: assets.0.kind: Field required"),
        ("gateway: gw-01", "gateway: gw-02", ":7: assets.0.gateway: no gateway 'gw-02'"),
        ("gateway: gw-01", "gatway: gw-01", ":7: assets.0.gatway: Extra inputs"),
        ("2019-03-01", "01/03/2019", ":9: assets.0.installed_on: "),
        ("2019-03-01", "2019-02-30", ":9: assets.0.installed_on: "),
        ("manual.pdf", "gone.pdf", ":10: assets.0.documents.0.file: gone.pdf: no such file"),
        ("2026-11-08", "soon", ":11: assets.0.plans.half_month.last_done_on: "),
        ("parent: EL-01", "parent: EL-09", ":12: assets.1.parent: no asset 'EL-09'"),
        ("parent: EL-01", "parent: EL-02", ":12: assets.1.parent: 'EL-02' stands above itself"),
        ("id: EL-02", "id: EL-01", ":12: assets.1.id: 'EL-01' stands here twice"),
        ("id: EL-02, kind: elevator", "id: EL-02, kind: lift", ":12: assets.1.kind: no rule pack"),
        (", en: Lift 2", "", ":12: assets.1.name.en: Field required"),
        ("skills: [lift_mechanic]", "skills: lift", ":13: technicians.0.skills: "),
        ("zh: 网关, en", "zh: 网关 en", ":2: "),
        ("gateways: [{", "gateways: [{{", ":"),
    ],
)
def test_mistake_is_named_with_line_and_key(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    assert old in GOOD
    with pytest.raises(SiteFileError) as refused:
        load_site(written(tmp_path, GOOD.replace(old, new, 1)), {"elevator"})
    assert any(p.startswith(f"site.yaml{expected}") for p in refused.value.problems), refused.value


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    bad = GOOD.replace("2019-03-01", "never").replace("gateway: gw-01", "gatway: gw-01")
    with pytest.raises(SiteFileError) as refused:
        load_site(written(tmp_path, bad))
    assert len(refused.value.problems) == 2


@pytest.mark.parametrize("text", ["", "- a list\n", "just words\n"])
def test_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SiteFileError):
        load_site(written(tmp_path, text))


def test_missing_and_binary_files_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00\x01")
    for name in ("gone.yaml", "bytes.yaml"):
        with pytest.raises(SiteFileError, match=f"{name}:1"):
            load_site(tmp_path / name)


def test_circle_of_parents_is_found(tmp_path: Path) -> None:
    bad = GOOD.replace("    gateway: gw-01\n", "    gateway: gw-01\n    parent: EL-02\n")
    with pytest.raises(SiteFileError) as refused:
        load_site(written(tmp_path, bad))
    assert len([p for p in refused.value.problems if "stands above itself" in p]) == 2
