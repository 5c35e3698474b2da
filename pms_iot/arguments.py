"""How arguments that several commands take are read."""

from datetime import UTC, datetime

import typer

from pms_iot.kernel.clock import to_ns


def instant(text: str) -> int:
    """Unix ns of a date or an instant of ISO 8601, UTC where it does not say. Raises typer.BadParameter."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a date or an instant of ISO 8601") from None
    return to_ns(at if at.tzinfo else at.replace(tzinfo=UTC))
