"""Messages that only a holder of the gateway's push key can have written.

HMAC-SHA256 (RFC 2104) over the topic, a line feed and the message without `hmac` as JSON with sorted
keys, no spaces and ASCII only. The topic is part of it, so a message for one gateway is none for another.
"""

import hashlib
import hmac
import json
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MAX_BYTES = 512 * 1024

MessageId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
Nanoseconds = Annotated[int, Field(ge=0, lt=1 << 63)]


class RefusedMessageError(Exception):
    """`reason` is a constant; `id` is what the message calls itself, or nothing; `detail` explains."""

    def __init__(self, reason: str, detail: str = "", *, id: str = "") -> None:
        self.reason, self.detail, self.id = reason, detail, id
        super().__init__(f"{reason}: {detail}" if detail else reason)


class Signed(BaseModel):
    """What every signed message says: its own id and until when it counts."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, strict=True, defer_build=True
    )

    id: MessageId
    expires_ns: Nanoseconds
    hmac: str = Field(max_length=64, repr=False)


Message = TypeVar("Message", bound=Signed)


def read_signed(model: type[Message], body: bytes, *, topic: str, key: bytes | None) -> Message:
    """Raises RefusedMessageError: oversized, malformed, or unsigned (also when there is no key)."""
    if len(body) > MAX_BYTES:
        raise RefusedMessageError("oversized", f"{len(body)} bytes, at most {MAX_BYTES}")
    content: Any = None
    try:
        content = json.loads(body)
        message = model.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))[:80]
        raise RefusedMessageError(
            "malformed", f"{where}: {first['msg']}", id=_id(content)
        ) from error
    except (ValueError, RecursionError) as error:
        raise RefusedMessageError("malformed", "is not JSON") from error
    wanted = signature(key, topic, content) if key else ""
    if not wanted or not hmac.compare_digest(wanted.encode(), message.hmac.encode()):
        raise RefusedMessageError("unsigned", "no signature with this gateway's key", id=message.id)
    return message


def signature(key: bytes, topic: str, content: dict[str, Any]) -> str:
    signed = {name: value for name, value in content.items() if name != "hmac"}
    text = json.dumps(signed, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hmac.new(key, f"{topic}\n{text}".encode(), hashlib.sha256).hexdigest()


def _id(content: Any) -> str:
    value = content.get("id") if isinstance(content, dict) else None
    return value[:64] if isinstance(value, str) and value.isascii() else ""
