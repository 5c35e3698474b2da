"""The consumer and a broker that asks for certificates: heard with ours, silent without."""

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from pms_iot.kernel.clock import ManualClock
from pms_iot.settings import MqttSettings
from pms_iot.telemetry.consumer import Consumer
from pms_iot.telemetry.counters import Counters
from tests.servers import mosquitto, require, wait_for

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """A folder with an authority and certificates of `broker` and `pms-engine`."""
    openssl = require("openssl")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]

    def run(*words: str) -> None:
        subprocess.run([openssl, *words], cwd=tmp_path, check=True, capture_output=True)

    (tmp_path / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    run("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=ca")
    for name in ("broker", "pms-engine"):
        run("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signing = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names"]
        run("x509", "-req", *signing, "-in", f"{name}.csr", "-out", f"{name}.crt")
    return tmp_path


def test_a_client_certificate_and_a_password_open_the_broker(certificates: Path) -> None:
    (certificates / "passwords").write_text("pms-engine:right\n")
    passwd = shutil.which("mosquitto_passwd") or require("mosquitto_passwd")
    subprocess.run([passwd, "-U", str(certificates / "passwords")], check=True)
    broker_tls = (
        f"cafile {certificates}/ca.crt\ncertfile {certificates}/broker.crt\n"
        f"keyfile {certificates}/broker.key\nrequire_certificate true\n"
        f"password_file {certificates}/passwords\n"
    )
    with mosquitto(certificates / "broker", extra=broker_tls) as broker:
        plain = MqttSettings(port=broker.port, ca=certificates / "ca.crt")
        shown = plain.model_copy(
            update={
                "cert": certificates / "pms-engine.crt",
                "key": certificates / "pms-engine.key",
                "username": "pms-engine",
            }
        )
        for settings, heard in (
            (plain, False),
            (shown.model_copy(update={"password": SecretStr("wrong")}), False),
            (shown.model_copy(update={"password": SecretStr("right")}), True),
        ):
            counters = Counters()
            consumer = Consumer(settings, ManualClock(NOW), counters, retry_s=(1, 1))
            consumer.start()
            if heard:
                wait_for(lambda c=consumer: c.connected_since_ns is not None, "the subscription")
            else:
                wait_for(
                    lambda c=counters: c["mqtt_disconnects"] + c["mqtt_refused"] > 0, "a refusal"
                )
                assert consumer.connected_since_ns is None
            consumer.stop()


def test_half_of_a_certificate_is_refused() -> None:
    with pytest.raises(ValidationError, match="belong together"):
        MqttSettings(ca=Path("ca.crt"), cert=Path("a.crt"))
    with pytest.raises(ValidationError, match="needs `ca`"):
        MqttSettings(cert=Path("a.crt"), key=Path("a.key"))
