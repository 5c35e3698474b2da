"""Channels against real servers."""

import base64
import email
import email.policy
import hashlib
import hmac
import json
import socket
from datetime import UTC, datetime

import pytest

from pms_iot.kernel.clock import ManualClock
from pms_iot.kernel.errors import ConfigError
from pms_iot.kernel.text import Text
from pms_iot.notify.channels import Email, Message, SendError, Webhook, sign, signing_key
from tests.unit.notify.servers import MailServer, mail_server, web_server

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)
MESSAGE = Message(
    key="webhook:work_order.opened:7",
    event="work_order.opened",
    subject=Text("新工单：1 号电梯", "New work order: lift 1"),
    body={"work_order": 7, "asset": "EL-01", "why": {"zh": "温度过高。", "en": "Too hot."}},
    created_at=NOW,
)


def test_signature_matches_the_published_example() -> None:
    # Test vector of the Standard Webhooks reference libraries.
    key = signing_key(SECRET)
    found = sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
    assert found == "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_receiver_can_check_the_signature_of_what_arrives() -> None:
    with web_server() as server:
        Webhook(server.url, SECRET, ManualClock(NOW)).send(MESSAGE)
    (request,) = server.requests
    message_id, timestamp = request.headers["webhook-id"], request.headers["webhook-timestamp"]
    key = base64.b64decode(SECRET[len("whsec_") :])
    signed = message_id.encode() + b"." + timestamp.encode() + b"." + request.body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert request.headers["webhook-signature"] == f"v1,{expected}"
    assert timestamp == str(int(NOW.timestamp()))
    event = json.loads(request.body)
    assert (event["specversion"], event["id"]) == ("1.0", message_id)
    assert event["type"] == "pms_iot.work_order.opened"
    assert datetime.fromisoformat(event["time"]) == NOW
    assert event["data"]["work_order"] == 7 and event["data"]["title"]["zh"] == "新工单：1 号电梯"


def test_every_attempt_has_the_same_id() -> None:
    with web_server() as server:
        channel = Webhook(server.url, SECRET, ManualClock(NOW))
        channel.send(MESSAGE)
        channel.send(MESSAGE)
    first, second = (request.headers["webhook-id"] for request in server.requests)
    assert first == second and "." not in first


@pytest.mark.parametrize(
    ("status", "permanent"), [(302, False), (400, False), (410, True), (429, False), (500, False)]
)
def test_refusal_is_reported_by_its_status_alone(status: int, permanent: bool) -> None:
    with web_server() as server:
        server.answers = [status]
        with pytest.raises(SendError) as failure:
            Webhook(server.url, SECRET, ManualClock(NOW)).send(MESSAGE)
    assert (failure.value.reason, failure.value.permanent) == (f"http {status}", permanent)
    assert len(server.requests) == 1  # a redirect is not followed


def test_server_that_is_away_is_reported_without_its_address() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/hooks/secret-path"
        with pytest.raises(SendError) as failure:
            Webhook(url, SECRET, ManualClock(NOW)).send(MESSAGE)
    assert failure.value.reason == "ConnectError"


@pytest.mark.parametrize(
    "secret", ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_###", "whsec_YQ=="]
)
def test_bad_secret_is_refused_at_the_start_and_not_quoted(secret: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Webhook("http://127.0.0.1/", secret, ManualClock(NOW))
    assert not secret or secret not in str(refused.value)


def mailer(server: MailServer, *recipients: str) -> Email:
    return Email("127.0.0.1", server.port, sender="pms@site.example", recipients=recipients)


def test_mail_arrives_in_both_languages_for_all_recipients() -> None:
    with mail_server() as server:
        mailer(server, "boss@site.example", "li@site.example").send(MESSAGE)
    (raw,) = server.mails
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    assert mail["Subject"] == "新工单：1 号电梯 / New work order: lift 1"
    assert mail["To"] == "boss@site.example, li@site.example"
    body = mail.get_body()
    assert body is not None and "asset: EL-01" in body.get_content()
    assert "why: 温度过高。\nwhy: Too hot.\n" in body.get_content().replace("\r\n", "\n")
    recipients = [line for line in server.commands if line.upper().startswith("RCPT")]
    assert len(recipients) == 2


def test_mail_sent_again_has_the_same_id() -> None:
    with mail_server() as server:
        channel = mailer(server, "boss@site.example")
        channel.send(MESSAGE)
        channel.send(MESSAGE)
    ids = {email.message_from_bytes(raw)["Message-ID"] for raw in server.mails}
    assert len(server.mails) == 2 and len(ids) == 1


@pytest.mark.parametrize(
    ("command", "answer", "reason"),
    [
        ("MAIL", "451 try later", "smtp 451"),
        ("DATA", "554 no boss@site.example here", "smtp 554"),
        ("RCPT", "550 unknown boss@site.example", "SMTPRecipientsRefused"),
    ],
)
def test_mail_refusal_names_no_person(command: str, answer: str, reason: str) -> None:
    with mail_server() as server:
        server.refuse = {command: answer}
        with pytest.raises(SendError) as failure:
            mailer(server, "boss@site.example").send(MESSAGE)
    assert (failure.value.reason, failure.value.permanent) == (reason, False)
    assert "@" not in str(failure.value)


def test_mail_channel_without_recipients_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigError, match="RECIPIENTS"):
        Email("127.0.0.1", 25, sender="pms@site.example", recipients=())
