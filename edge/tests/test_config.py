import subprocess
import sys
from pathlib import Path

import pytest
from edge_rig import PROFILE
from pms_edge.config.check import check_file
from pms_edge.config.gateway_file import Address
from pms_edge.config.load import load_config
from pms_edge.config.located import ConfigError, Document
from pms_edge.gb26875.profile import load_any_profile
from pms_edge.profiles.profile import profile_files, shipped_profiles

HERE = Path(__file__).parent
BROKEN = sorted((HERE / "broken").glob("*.yaml"))
GATEWAY = """\
gateway: {id: gw-01, site: riverside}
uplink: {host: broker}
profiles: [%s]
endpoints: {plc: {tcp: 127.0.0.1:502}}
devices: [{id: EL-01, profile: test_lift.v1, endpoint: plc, unit: 1}]
"""


@pytest.fixture
def gateway_file(tmp_path):
    file = tmp_path / "gateway.yaml"
    file.write_text(GATEWAY % PROFILE.parents[1])
    return file


@pytest.mark.parametrize("file", BROKEN, ids=lambda file: file.stem)
def test_each_mistake_is_named_with_file_line_and_key(file):
    lines = file.read_text().splitlines()
    expected = [line.removeprefix("# expect: ") for line in lines if line.startswith("# expect: ")]
    found = [str(mistake) for mistake in check_file(file, {})]
    assert expected
    assert [text[text.index(name_of(text)) :] for text in found] == expected


def name_of(mistake: str) -> str:
    return Path(mistake.split(":")[0]).name


def test_a_correct_file_gives_every_device_its_profile(gateway_file):
    config = load_config(gateway_file, {})
    assert [device.profile.id for device in config.devices] == ["test_lift.v1"]
    assert config.classes == {"fast": 1.0, "normal": 5.0, "slow": 60.0}
    assert config.endpoints["plc"].tcp == Address("127.0.0.1", 502)
    assert config.spool.path == gateway_file.parent / "spool.db"


def test_the_environment_overrides_uplink_and_spool(gateway_file):
    env = {
        "PMS_EDGE_UPLINK__HOST": "mosquitto",
        "PMS_EDGE_UPLINK__PORT": "8883",
        "PMS_EDGE_UPLINK__PASSWORD": "secret",
        "PMS_EDGE_UPLINK__TLS__CA": "/ca.pem",
        "PMS_EDGE_SPOOL__MAX_MB": "8",
    }
    config = load_config(gateway_file, env)
    assert (config.uplink.host, config.uplink.port) == ("mosquitto", 8883)
    assert config.uplink.password == "secret"
    assert config.uplink.tls and config.uplink.tls.ca == Path("/ca.pem")
    assert config.spool.max_mb == 8
    assert "secret" not in repr(config)


def test_a_mistake_in_the_environment_names_the_variable(gateway_file):
    env = {"PMS_EDGE_UPLINK__PORT": "many", "PMS_EDGE_SPOOL__MAXMB": "8"}
    with pytest.raises(ConfigError) as raised:
        load_config(gateway_file, env)
    first, second = map(str, raised.value.mistakes)
    assert first.startswith(
        "environment: PMS_EDGE_SPOOL__MAXMB: unknown key; did you mean 'max_mb'"
    )
    assert second.startswith("environment: PMS_EDGE_UPLINK__PORT: ")


def test_a_password_file_is_read_beside_the_gateway_file(gateway_file):
    (gateway_file.parent / "mqtt.txt").write_text("from-file\n")
    env = {"PMS_EDGE_UPLINK__PASSWORD_FILE": "mqtt.txt"}
    assert load_config(gateway_file, env).uplink.password == "from-file"


def test_a_broken_profile_that_no_device_uses_does_not_stop_the_gateway(gateway_file, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "spare.yaml").write_text("profile: spare.v1\npoints: 7\n")
    both = f"{PROFILE.parents[1]}, mine"
    gateway_file.write_text(GATEWAY % both)
    assert len(load_config(gateway_file, {}).devices) == 1


@pytest.mark.parametrize("file", profile_files([shipped_profiles()]), ids=lambda file: file.stem)
def test_shipped_profiles_pass_their_own_vectors(file):
    assert check_file(file, {}) == []


def test_check_prints_the_mistakes_and_exits_1():
    file = HERE / "broken" / "gateway_unknown_endpoint.yaml"
    command = [sys.executable, "-m", "pms_edge", "check", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert f"{file}:10: devices[0].endpoint: no endpoint is named 'pcl'" in done.stdout


@pytest.mark.parametrize("file", profile_files([shipped_profiles()]), ids=lambda file: file.stem)
def test_shipped_profiles_say_how_sure_their_source_is(file):
    profile = load_any_profile(Document(file))
    assert profile and profile.confidence and profile.source
    assert profile.goldens or profile.panel or not profile.points


def test_profiles_lists_every_map_with_its_kind_and_source():
    command = [sys.executable, "-m", "pms_edge", "profiles", str(PROFILE.parents[1])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert lines["test_lift.v1"].split()[1:3] == ["elevator", "-:"]
    assert "power_meter    transcribed (1 of 13 from_memory): spjakob" in lines["eastron_sdm630.v1"]
