"""What ends a transfer; its words name the file or the store and what to do."""

from pms_iot.kernel.errors import PmsError


class TransferError(PmsError):
    """`place` is a file, `file:line` or a store."""

    def __init__(self, place: object, problem: str) -> None:
        super().__init__(f"{place}: {problem}")
