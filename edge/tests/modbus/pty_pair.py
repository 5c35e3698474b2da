"""Two serial ports joined by a cable: what is written to one is read from the other."""

import os
import select
import threading
import tty


class PtyPair:
    """`ours` and `theirs` are paths. Closing it is what pulling out an adapter is."""

    def __init__(self) -> None:
        self._masters, self._slaves = zip(*(os.openpty() for _ in range(2)), strict=True)
        for slave in self._slaves:
            tty.setraw(slave)
        self.ours, self.theirs = map(os.ttyname, self._slaves)
        self.theirs_fd = self._slaves[1]
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        if self._thread.is_alive():
            os.write(self._stop_write, b"x")
            self._thread.join(10)
            for fd in (*self._masters, *self._slaves, self._stop_read, self._stop_write):
                os.close(fd)

    def _run(self) -> None:
        first, second = self._masters
        other = {first: second, second: first}
        while True:
            ready, _, _ = select.select([first, second, self._stop_read], [], [])
            if self._stop_read in ready:
                return
            for master in ready:
                os.write(other[master], os.read(master, 4096))
