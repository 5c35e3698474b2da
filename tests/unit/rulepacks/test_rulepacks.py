"""Rule packs: good ones become objects, and every mistake is named with file, line and key."""

import shutil
from pathlib import Path

import pytest

from pms_iot.assets.points import CounterDef
from pms_iot.derived.computed import Against
from pms_iot.rulepacks import PackError, check_packs, load_packs, rules_root
from pms_iot.telemetry.condition import Condition, Gate

HERE = Path(__file__).parent
BROKEN = sorted((HERE / "broken").glob("*.yaml"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder `rules` with the good pack, to be broken."""
    shutil.copytree(HERE / "good", tmp_path / "rules")
    return tmp_path / "rules"


def test_good_pack_becomes_objects(root: Path) -> None:
    pack = load_packs(root)["pump"]
    hot, unusual, silent = pack.rules
    assert hot.id == "pump.hot"
    assert hot.condition == Condition("above", high=80, clear_high=75)
    assert (hot.for_s, hot.clear_for_s) == (30, 60)
    assert hot.when == (Gate("run", Condition("equals", values=(1.0,)), 10),)
    assert unusual.points == ("temp.anomaly",)
    assert (silent.silent_for_s, silent.condition) == (180, None)
    assert {"temp.anomaly", "temp.lo", "temp.hi"} < pack.points.keys()
    assert pack.points["temp.lo"].unit == "°C"
    assert pack.points["temp.lo"].derived
    (state,) = pack.derived.states
    assert [clause.state for clause in state.order] == [2, 3, 1]
    assert state.order[0].past == (Gate("run", Condition("equals", values=(1.0,)), 10),)
    assert pack.points["state"].type == "enum"
    assert pack.points["state"].derived
    assert pack.points["state"].values[3].en == "Running"
    ratio, starts = pack.derived.computed
    assert ratio.against == Against("ratio", days=5)
    assert (ratio.every_s, ratio.sources, ratio.point.unit) == (600, (("temp",),), "")
    assert [[spec.point.key for spec in level] for level in pack.derived.levels()] == [
        ["state"],
        ["temp_ratio", "starts_h"],
    ]
    assert (starts.point.unit, starts.point.period_s) == ("1/h", 3600)
    assert [line.id for line in pack.plans[1].checklist] == ["m-1", "y-1"]
    assert pack.points["hours"].counter == CounterDef(None, 1.0), "hours run no faster than time"
    assert pack.points["starts"].counter == CounterDef(655360.0, 60.0, 10.0)
    assert pack.points["energy"].counter == CounterDef(100_000.0, None, 0.1)
    assert pack.points["temp"].counter is None
    assert check_packs(root) == []


@pytest.mark.parametrize("file", BROKEN, ids=lambda file: file.stem)
def test_mistake_is_named_with_file_line_and_key(file: Path, root: Path) -> None:
    """`alerts.x.yaml` replaces the good pack's alerts.yaml; its first line says what must be said."""
    expected = file.read_text().splitlines()[0].removeprefix("# ")
    shutil.copy(file, root / "pump" / (file.name.split(".")[0] + ".yaml"))
    with pytest.raises(PackError) as raised:
        load_packs(root)
    assert raised.value.problems == [expected]


def test_all_mistakes_are_told_at_once(root: Path) -> None:
    for file in BROKEN:
        if file.name in ("points.range.yaml", "detectors.no_warmup.yaml", "maintenance.never.yaml"):
            shutil.copy(file, root / "pump" / (file.name.split(".")[0] + ".yaml"))
    with pytest.raises(PackError) as raised:
        load_packs(root)
    assert len(raised.value.problems) == 3


def test_profile_with_an_unknown_point_is_named(root: Path) -> None:
    file = root / "pump" / "devices" / "pump.v1.yaml"
    file.write_text(file.read_text().replace("name: temp", "name: tmp"))
    with pytest.raises(PackError, match=r"pump.v1.yaml:4: points.0.name: no point 'tmp' in"):
        load_packs(root)


def test_folder_without_packs_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(PackError, match="no rule packs"):
        load_packs(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "fires_at: 50s",
            "fires_at: 55s",
            "hot did not fire at 55s; fired: pump.hot|ASSET|temp at 50s",
        ),
        ("resolves_at: 130s", "resolves_at: 1s", "hot did not resolve at 1s"),
        ("rule: hot, f", "rule: hott, f", "no rule 'hott'; did you mean 'hot'?"),
        ("  temp:", "  tmep:", "no point 'tmep'; did you mean 'temp'?"),
        ('"70x4"', '"70*4"', "'70*4' is neither a number nor value x count"),
    ],
)
def test_case_that_does_not_hold_is_named(root: Path, old: str, new: str, said: str) -> None:
    file = root / "pump" / "tests" / "hot.yaml"
    file.write_text(file.read_text().replace(old, new))
    problems = check_packs(root)
    assert len(problems) == 1
    assert problems[0].startswith("rules/pump/tests/hot.yaml:")
    assert said in problems[0]


def test_case_that_should_be_silent_but_is_not_is_named(root: Path) -> None:
    file = root / "pump" / "tests" / "hot.yaml"
    file.write_text(file.read_text().split("expect:")[0] + "expect: []\n")
    assert "more than expected" in check_packs(root)[0]


def test_the_packs_that_ship_are_right_and_do_what_their_cases_say() -> None:
    assert check_packs(rules_root()) == []
