"""The one small tree of errors. They carry ids; whoever shows them chooses the words."""


class PmsError(Exception):
    """Root of all errors that pms_iot raises on purpose."""


class ConfigError(PmsError):
    """A static mistake in a file; `place` is `file:line: key`."""

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(f"{place}: {problem}")
        self.place = place
        self.problem = problem


class NotFoundError(PmsError):
    """No such row."""

    def __init__(self, what: str, key: object) -> None:
        super().__init__(f"no {what} {key!r}")
        self.what = what
        self.key = key


class IllegalMoveError(PmsError):
    """A state machine refused: `what` cannot go from `state` by `move`."""

    def __init__(self, what: str, state: str, move: str) -> None:
        super().__init__(f"{what} in state {state!r} does not allow {move!r}")
        self.what = what
        self.state = state
        self.move = move


class BadPayloadError(PmsError):
    """A message that cannot be understood; `reason` is a constant, `detail` names the place in it."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class StoreUnavailableError(PmsError):
    """A store did not answer or refused the write; the caller keeps what it holds and tries again."""


class MigrationError(PmsError):
    """The core store's schema is none that this program knows, such as that of a newer one."""
