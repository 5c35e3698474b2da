"""Ways to reach people: a signed webhook, e-mail. Each sends one message or raises SendError."""

import base64
import binascii
import hashlib
import hmac
import smtplib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Protocol

import httpx2
import orjson

from pms_iot.kernel.clock import Clock
from pms_iot.kernel.errors import ConfigError, PmsError
from pms_iot.kernel.text import Text

TIMEOUT_S = 10.0
SOURCE = "pms_iot"


@dataclass(frozen=True, slots=True)
class Message:
    """What is to be said. `key` is the same at every attempt, so that a receiver can drop a repeat."""

    key: str
    event: str
    subject: Text
    body: Mapping[str, object]
    created_at: datetime

    @property
    def id(self) -> str:
        """The key as a token without dots, spaces or colons, fit for a header."""
        return f"msg_{hashlib.sha256(self.key.encode()).hexdigest()[:32]}"


class SendError(PmsError):
    """Not delivered. `reason` is a constant or a status code, without address, body or secret."""

    def __init__(self, reason: str, *, permanent: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.permanent = permanent


class Channel(Protocol):
    """One configured way to reach people."""

    @property
    def name(self) -> str: ...

    def send(self, message: Message) -> None:
        """Returns when the other side has taken the message; raises SendError if it has not.

        Takes at most about 10 s for each step of the conversation.
        """
        ...


class Webhook:
    """HTTP POST of a CloudEvents 1.0 body, signed as Standard Webhooks 1.0 (HMAC-SHA256, `v1`).

    `secret` is `whsec_` and base64. The receiver checks the signature over `id.timestamp.body`;
    the timestamp is that of the attempt, on the real clock, because receivers refuse old ones.
    Redirects are not followed: the signed body belongs to the configured address only.
    """

    name = "webhook"

    def __init__(self, url: str, secret: str, clock: Clock) -> None:
        self._url = url
        self._key = signing_key(secret)
        self._clock = clock

    def send(self, message: Message) -> None:
        body = orjson.dumps(_cloud_event(message))
        timestamp = str(int(self._clock.now().timestamp()))
        headers = {
            "content-type": "application/json",
            "webhook-id": message.id,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1,{sign(self._key, message.id, timestamp, body)}",
        }
        try:
            answer = httpx2.post(self._url, content=body, headers=headers, timeout=TIMEOUT_S)
        except httpx2.TimeoutException:
            raise SendError("timeout") from None
        except httpx2.HTTPError as problem:
            raise SendError(type(problem).__name__) from None
        if not answer.is_success:  # 410: the receiver wants no more of these
            raise SendError(f"http {answer.status_code}", permanent=answer.status_code == 410)


def signing_key(secret: str) -> bytes:
    """The key bytes of a `whsec_…` secret. Raises ConfigError, without quoting the secret."""
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith("whsec_") or not 24 <= len(key) <= 64:  # Standard Webhooks 1.0
        raise ConfigError("PMS_WEBHOOK__SECRET", "not whsec_ and base64 of 24 to 64 bytes")
    return key


def sign(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    """Base64 HMAC-SHA256 of `id.timestamp.body` (Standard Webhooks 1.0, symmetric signature)."""
    content = f"{message_id}.{timestamp}.".encode() + body
    return base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()


def _cloud_event(message: Message) -> dict[str, object]:
    return {
        "specversion": "1.0",
        "id": message.id,
        "source": SOURCE,
        "type": f"{SOURCE}.{message.event}",
        "time": message.created_at.isoformat(),
        "datacontenttype": "application/json",
        "data": {"title": {"zh": message.subject.zh, "en": message.subject.en}, **message.body},
    }


class Email:
    """One mail to all recipients over SMTP, upgraded to TLS if asked for."""

    name = "email"

    def __init__(
        self,
        host: str,
        port: int,
        *,
        sender: str,
        recipients: tuple[str, ...],
        username: str | None = None,
        password: str | None = None,
        starttls: bool = False,
    ) -> None:
        if not recipients:
            raise ConfigError("PMS_EMAIL__RECIPIENTS", "no recipient")
        self._host, self._port, self._starttls = host, port, starttls
        self._sender, self._recipients = sender, recipients
        self._username, self._password = username, password

    def send(self, message: Message) -> None:
        try:
            with smtplib.SMTP(self._host, self._port, timeout=TIMEOUT_S) as server:
                if self._starttls:
                    server.starttls(context=ssl.create_default_context())
                if self._username is not None:
                    server.login(self._username, self._password or "")
                refused = server.send_message(self._mail(message))
        except TimeoutError:
            raise SendError("timeout") from None
        except smtplib.SMTPResponseException as problem:
            raise SendError(f"smtp {problem.smtp_code}") from None
        except (smtplib.SMTPException, OSError) as problem:
            raise SendError(type(problem).__name__) from None
        if refused:  # the others have it: sending to all again would repeat it to them
            raise SendError(f"{len(refused)} recipients refused", permanent=True)

    def _mail(self, message: Message) -> EmailMessage:
        mail = EmailMessage()
        mail["From"] = self._sender
        mail["To"] = ", ".join(self._recipients)
        mail["Subject"] = f"{message.subject.zh} / {message.subject.en}"
        mail["Date"] = format_datetime(message.created_at)
        mail["Message-ID"] = f"<{message.id}@{SOURCE}>"  # the same at every attempt
        lines = [message.subject.zh, message.subject.en, ""]
        lines += [line for name, value in message.body.items() for line in _lines(name, value)]
        mail.set_content("\n".join(lines))
        return mail


def _lines(name: str, value: object) -> list[str]:
    """A value that is said in several languages takes a line for each."""
    said = value.values() if isinstance(value, Mapping) else [value]
    return [f"{name}: {one}" for one in said]
