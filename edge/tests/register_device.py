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

    `answer(unit, address)` may return an exception code, or seconds to wait before answering.
    """

    def __init__(
        self, units: dict[int, dict[int, list[int]]], *, answer: Answer | None = None, port: int = 0
    ) -> None:
        self.units, self.answer, self.port = units, answer, port
        self.requests: list[tuple[int, int, int]] = []
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

    def _device(self, unit: int) -> SimDevice:
        async def action(
            function: int, start: int, address: int, count: int, now: list[int], _set: object
        ) -> ExcCodes | None:
            self.requests.append((unit, address, count))
            said = self.answer(unit, address) if self.answer else None
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
