"""Which batches of a lane to send when: a window of them, over again from the first when no ack comes."""

from pms_edge.spool.lane import Span

RESEND_S = 5.0


class Cursor:
    """Go-back-N position of one lane. Only an ack is progress; that old batches were evicted is none."""

    def __init__(self, window: int, resend_s: float = RESEND_S) -> None:
        self._window, self._resend_s = window, resend_s
        self.next = 0
        self.resends = 0  # in a row, without an ack
        self._base = self._acked = 0
        self._progress_at = 0.0

    def due(self, span: Span, now: float) -> tuple[int, int]:
        """Half-open range of sequence numbers to send now; a start below the old `next` is a resend."""
        idle = self.next <= span.base
        if span.acked != self._acked or idle:
            self._acked, self._progress_at = span.acked, now
            self.resends = 0
        self._base = span.base
        self.next = max(self.next, span.base)
        if self.next > span.base and now - self._progress_at >= self._resend_s:
            self.next, self._progress_at = span.base, now
            self.resends += 1
        return self.next, min(span.last + 1, span.base + self._window)

    def restart(self) -> None:
        self.next = 0

    def waits_for_ack(self) -> bool:
        return self.next > self._base
