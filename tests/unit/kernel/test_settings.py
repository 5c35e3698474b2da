"""Settings: from the environment, secrets also from files."""

import os
from pathlib import Path

import pytest

from pms_iot.bootstrap import read_settings
from pms_iot.kernel.errors import ConfigError


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No variable of the caller's own engine."""
    for name in [name for name in os.environ if name.startswith("PMS_")]:
        monkeypatch.delenv(name)
    return monkeypatch


def test_a_secret_file_sets_what_its_name_says(clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "mqtt").write_text("hush\n")
    (tmp_path / "admin").write_text(" correct horse \n")
    clean.setenv("PMS_MQTT__PASSWORD_FILE", str(tmp_path / "mqtt"))
    clean.setenv("PMS_ADMIN_PASSWORD_FILE", str(tmp_path / "admin"))
    clean.setenv("PMS_MQTT__USERNAME", "engine")  # of the same group, from elsewhere
    settings = read_settings()
    assert settings.mqtt.password and settings.mqtt.password.get_secret_value() == "hush"
    assert settings.mqtt.username == "engine"
    assert settings.admin_password
    assert settings.admin_password.get_secret_value() == "correct horse"


def test_the_variable_itself_comes_before_the_file(
    clean: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("of the file")
    clean.setenv("PMS_INFLUX__TOKEN_FILE", str(tmp_path / "token"))
    clean.setenv("PMS_INFLUX__TOKEN", "of the environment")
    assert read_settings().influx.token.get_secret_value() == "of the environment"


def test_an_empty_variable_means_the_default(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("PMS_WEB__PORT", "")
    assert read_settings().web.port == 8080


def test_a_missing_secret_file_is_named(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("PMS_MQTT__PASSWORD_FILE", "/nowhere/secret")
    with pytest.raises(ConfigError, match="/nowhere/secret"):
        read_settings()


def test_a_wrong_value_is_named_and_not_repeated(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("PMS_MQTT__PORT", "hush")
    with pytest.raises(ConfigError, match=r"PMS_MQTT__PORT: .*integer") as caught:
        read_settings()
    assert "hush" not in str(caught.value)
