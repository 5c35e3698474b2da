"""What the broker delivers, what takes it, and how a message can be wrong."""

import json
from typing import Any, NamedTuple, Protocol

Json = Any


class Message(NamedTuple):
    """One delivery. `at_ns` is its arrival; `retained` means that its age is unknown."""

    topic: str
    body: bytes
    retained: bool
    at_ns: int


class MalformedError(ValueError):
    """A message that is not what its device should send; `kind` is counted."""

    def __init__(self, kind: str, detail: str = "") -> None:
        self.kind = kind
        self.detail = detail
        super().__init__(kind)


class Listener(Protocol):
    """Whatever takes messages of a broker. Called under the broker's lock, one call at a time."""

    def filters(self) -> list[str]:
        """The topic filters that it needs now."""
        ...

    def take(self, message: Message) -> bool:
        """One message; False when it is not for this listener. Bad content is counted, not raised."""
        ...

    def expire(self, now_ns: int) -> None:
        """Marks bad what was not heard for too long."""
        ...


def parse_json(body: bytes) -> Json:
    """Any JSON value. Raises MalformedError."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedError("malformed_json", str(error)[:80]) from error


def parse_text(body: bytes) -> str:
    """A payload that is one plain value. Raises MalformedError."""
    try:
        return body.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise MalformedError("not_text", f"byte {error.start}") from error
