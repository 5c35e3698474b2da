"""The uplink to a broker that asks for certificates and keeps each gateway in its own subtree."""

import logging
import shutil
import signal
import ssl
import subprocess

import pytest
from certificates import Authority, missing
from edge_rig import Broker
from pms_edge.config.gateway_file import Tls
from spool_rig import batch
from test_uplink import Gateway
from tiny_engine import Engine, eventually

PASSWD = shutil.which("mosquitto_passwd")
ACL = "user engine\ntopic readwrite #\n\npattern readwrite pms/v1/+/%u/#\n"
CLOSED = "user engine\ntopic readwrite #\n"


class TlsBroker(Broker):
    """Takes the common name of a client's certificate as its user; 1.2 is what it speaks."""

    def __init__(self, folder, authority: Authority) -> None:
        super().__init__(folder)
        certificate, key = authority.issue("broker")
        self.acl = folder / "acl"
        self.acl.write_text(ACL)
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\npersistence false\nuser root\ntls_version tlsv1.2\n"
            f"cafile {authority.folder}/ca.crt\ncertfile {certificate}\nkeyfile {key}\n"
            f"require_certificate true\nuse_identity_as_username true\nacl_file {self.acl}\n"
        )

    def allow(self, acl: str) -> None:
        self.acl.write_text(acl)
        self._process.send_signal(signal.SIGHUP)


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "ca")


@pytest.fixture
def broker(broker, tmp_path, authority):
    """In place of the plain one, whose fixture skips where there is no mosquitto."""
    broker.kill()
    secured = TlsBroker(tmp_path, authority)
    secured.start()
    yield secured
    secured.kill()


@pytest.fixture
def engine(broker, authority):
    context = ssl.create_default_context(cafile=authority.folder / "ca.crt")
    context.load_cert_chain(*authority.issue("engine"))
    engine = Engine(broker.port, tls=context)
    yield engine
    engine.close()


@pytest.fixture
def connect(tmp_path, broker, authority):
    links = []

    def connect(name="gw-01", *, ca=None, days=2, certificate=True, **more) -> Gateway:
        cert, key = authority.issue(name, days) if certificate else (None, None)
        tls = Tls(ca=ca or authority.folder / "ca.crt", cert=cert, key=key)
        folder = tmp_path / f"gateway-{len(links)}"
        folder.mkdir()
        links.append(Gateway(folder, broker.port, tls=tls, **more))
        links[-1].keep(*(batch(i) for i in range(1, 21)))
        links[-1].uplink.start()
        return links[-1]

    yield connect
    for link in links:
        link.close()


def committed(engine: Engine, link: Gateway) -> list[int]:
    return engine.committed(link.spool.epoch, "data")


def said(caplog) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


def test_a_gateway_with_its_certificate_delivers(connect, engine):
    link = connect()
    engine.wait(lambda: committed(engine, link) == list(range(1, 21)))
    eventually(lambda: link.spool.stats().rows == 0)


@pytest.mark.parametrize("mistake", ["wrong authority", "expired", "none"])
def test_a_wrong_certificate_is_said_once_tried_again_and_loses_nothing(
    connect, engine, tmp_path, caplog, mistake
):
    options = {
        "wrong authority": {"ca": Authority(tmp_path / "other").folder / "ca.crt"},
        "expired": {"days": -1},
        "none": {"certificate": False},
    }[mistake]
    link = connect(**options)
    eventually(lambda: link.counters.get("uplink_failures") >= 2)
    assert said(caplog).count("uplink lost") == 1
    assert not link.uplink.connected.is_set()
    assert link.spool.stats().rows == 20 and not engine.messages


def test_a_gateway_outside_its_subtree_is_not_heard_and_says_so_once(
    connect, broker, engine, caplog
):
    """Mosquitto confirms what its ACL drops; that nothing is acknowledged is the only sign."""
    link = connect("gw-02", resend_s=0.2)  # speaks as gw-01
    eventually(lambda: link.counters.get("resends") >= 5)
    assert said(caplog) == ["nothing is acknowledged: engine away, or not allowed by the broker"]
    assert link.spool.stats().rows == 20 and not engine.messages


def test_a_revoked_acl_loses_nothing(connect, broker, engine, caplog):
    link = connect(resend_s=0.2)
    engine.wait(lambda: len(committed(engine, link)) == 20)
    broker.allow(CLOSED)
    link.keep(*(batch(i) for i in range(21, 41)))
    unheard = "nothing is acknowledged: engine away, or not allowed by the broker"
    eventually(lambda: unheard in said(caplog) or len(committed(engine, link)) == 40)
    broker.allow(ACL)
    engine.wait(lambda: committed(engine, link) == list(range(1, 41)), 25)


def test_user_name_and_password(tmp_path, broker, caplog):
    if PASSWD is None:
        missing("mosquitto_passwd is not installed")
    passwords = tmp_path / "passwords"
    passwords.write_text("gw-01:right\nengine:right\n")
    broker.kill()
    subprocess.run([PASSWD, "-U", passwords], check=True)
    broker._config.write_text(
        f"listener {broker.port} 127.0.0.1\nuser root\npassword_file {passwords}\n"
    )
    broker.start()
    for password, connects in (("wrong", False), ("right", True)):
        folder = tmp_path / password
        folder.mkdir()
        link = Gateway(folder, broker.port, username="gw-01", password=password)
        link.uplink.start()
        if connects:
            eventually(link.uplink.connected.is_set)
        else:
            eventually(lambda link=link: link.counters.get("uplink_failures") >= 2)
            assert said(caplog).count("uplink lost") == 1
        link.close()
