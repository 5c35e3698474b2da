"""A Modbus TCP device served by pymodbus, on its own thread and loop."""

import asyncio
import threading
from collections.abc import Callable

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

Answer = Callable[[int, int], ExcCodes | float | None]


class ModbusDevice:
    """`units` maps a unit to its runs of holding registers {start: [values]}.

    `answer(unit, address)` may return an exception code, or seconds to wait before answering;
    `on_write` says the same of writes, and may return -1.0: answered as if done, but not done.
    """

    def __init__(
        self, units: dict[int, dict[int, list[int]]], *, answer: Answer | None = None, port: int = 0
    ) -> None:
        self.units, self.answer, self.port = units, answer, port
        self.requests: list[tuple[int, int, int]] = []
        self.on_write: Answer | None = None
        self.writes: list[tuple[int, int, list[int]]] = []
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._started.wait(10)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        devices = [self._device(unit) for unit in self.units]
        server = ModbusTcpServer(
            devices, address=("127.0.0.1", self.port), ignore_missing_devices=True
        )
        await server.listen()
        self.port = server.transport.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        await server.shutdown()
        late = asyncio.all_tasks() - {asyncio.current_task()}
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _take(self, unit: int, address: int, new: list[int]) -> ExcCodes | float | None:
        self.writes.append((unit, address, list(new)))
        said = self.on_write(unit, address) if self.on_write else None
        if said is None or (isinstance(said, float) and said >= 0):
            for first, values in self.units[unit].items():
                for offset, value in enumerate(new):
                    if 0 <= address + offset - first < len(values):
                        values[address + offset - first] = int(value)
        return None if said == -1.0 else said

    def _device(self, unit: int) -> SimDevice:
        async def action(
            function: int,
            start: int,
            address: int,
            count: int,
            now: list[int],
            new: list[int] | None,
        ) -> ExcCodes | None:
            self.requests.append((unit, address, count))
            said = self.answer(unit, address) if self.answer else None
            if new is not None:
                said = self._take(unit, address, new)
            if isinstance(said, float):
                await asyncio.sleep(said)
                said = None
            for first, values in self.units[unit].items():
                for offset, value in enumerate(values):
                    if 0 <= first + offset - start < len(now):
                        now[first + offset - start] = value
            return said

        runs = [
            SimData(start, values=values, datatype=DataType.REGISTERS)
            for start, values in self.units[unit].items()
        ]
        return SimDevice(unit, simdata=runs, action=action)
