"""The life of a work order: its states, its legal moves, its response times. Pure."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

from pms_iot.kernel.errors import IllegalMoveError


class Status(StrEnum):
    """Where a work order stands. Those of `ENDED` are final."""

    NEW = "new"
    ASSIGNED = "assigned"
    IN_PROGRESS = "in_progress"
    WAITING_PARTS = "waiting_parts"
    WAITING_ACCESS = "waiting_access"
    DONE = "done"  # finished by a person, not yet confirmed by telemetry
    CLOSED = "closed"
    CANCELLED = "cancelled"


Verb = Literal[
    "assign",
    "take",
    "start",
    "wait_parts",
    "wait_access",
    "resume",
    "finish",
    "close",
    "reopen",
    "cancel",
]
Outcome = Literal["true_fault", "false_alarm", "no_fault_found", "sensor_fault", "done"]
OUTCOMES: Mapping[str, tuple[Outcome, ...]] = MappingProxyType(
    {
        "corrective": ("true_fault", "false_alarm", "no_fault_found", "sensor_fault"),
        "preventive": ("done",),
    }
)

ENDED = frozenset({Status.CLOSED, Status.CANCELLED})

MOVES: Mapping[tuple[Status, Verb], Status] = MappingProxyType(
    {
        (Status.NEW, "assign"): Status.ASSIGNED,
        (Status.NEW, "take"): Status.ASSIGNED,
        (Status.NEW, "cancel"): Status.CANCELLED,
        (Status.ASSIGNED, "assign"): Status.ASSIGNED,  # to somebody else
        (Status.ASSIGNED, "start"): Status.IN_PROGRESS,
        (Status.ASSIGNED, "cancel"): Status.CANCELLED,
        (Status.IN_PROGRESS, "assign"): Status.IN_PROGRESS,  # handed over at the end of a shift
        (Status.IN_PROGRESS, "wait_parts"): Status.WAITING_PARTS,
        (Status.IN_PROGRESS, "wait_access"): Status.WAITING_ACCESS,
        (Status.IN_PROGRESS, "finish"): Status.DONE,
        (Status.WAITING_PARTS, "assign"): Status.WAITING_PARTS,
        (Status.WAITING_PARTS, "resume"): Status.IN_PROGRESS,
        (Status.WAITING_PARTS, "cancel"): Status.CANCELLED,
        (Status.WAITING_ACCESS, "assign"): Status.WAITING_ACCESS,
        (Status.WAITING_ACCESS, "resume"): Status.IN_PROGRESS,
        (Status.WAITING_ACCESS, "cancel"): Status.CANCELLED,
        (Status.DONE, "close"): Status.CLOSED,
        (Status.DONE, "reopen"): Status.IN_PROGRESS,
    }
)


def move(status: Status | str, verb: Verb) -> Status:
    """The state after `verb`. Raises IllegalMoveError if the state does not allow it."""
    try:
        return MOVES[Status(status), verb]
    except (KeyError, ValueError):  # no such pair, no such state
        raise IllegalMoveError("work order", str(status), verb) from None


def verbs(status: Status | str) -> tuple[Verb, ...]:
    """What may be done in this state, in the order of the table; empty for an ended order."""
    return tuple(verb for state, verb in MOVES if state == status)


# Arrival and restoration by priority: domain reference 3.3 (service levels proposed there).
ARRIVE = {
    "P1": timedelta(minutes=30),
    "P2": timedelta(hours=1),
    "P3": timedelta(hours=4),
    "P4": timedelta(days=3),
}
RESTORE = {
    "P1": timedelta(minutes=30),
    "P2": timedelta(hours=8),
    "P3": timedelta(hours=24),
    "P4": timedelta(days=7),
}


def arrive_by(priority: str, opened_at: datetime) -> datetime:
    """When somebody must be there. Raises KeyError for a priority other than P1 to P4."""
    return opened_at + ARRIVE[priority]


def due_at(priority: str, opened_at: datetime) -> datetime:
    """When the fault must be gone. Raises KeyError for a priority other than P1 to P4."""
    return opened_at + RESTORE[priority]


def more_severe(priority: str, other: str) -> bool:
    """True if `priority` is more urgent than `other`; P1 is the most urgent."""
    return priority < other
