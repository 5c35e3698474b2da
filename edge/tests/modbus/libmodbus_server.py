"""A libmodbus server: `libmodbus_server.py tcp` prints its port; `libmodbus_server.py rtu PATH`.

Holding register a holds 3a+1, input register a 5a+2; coil a is on for a divisible by 3, discrete
input a for a odd. 200 of each.
"""

import ctypes
import os
import socket
import sys

LIBRARY = "libmodbus.so.5"
UNIT = 7
COUNT = 200
LONGEST = 260  # MODBUS_MAX_ADU_LENGTH
COUNTS = ("bits", "start_bits", "input_bits", "start_input_bits")
REGISTERS = ("input_registers", "start_input_registers", "registers", "start_registers")


class Mapping(ctypes.Structure):
    """modbus_mapping_t of modbus.h 3.1."""

    _fields_ = [
        *((name, ctypes.c_int) for name in (*COUNTS, *REGISTERS)),
        ("tab_bits", ctypes.POINTER(ctypes.c_uint8)),
        ("tab_input_bits", ctypes.POINTER(ctypes.c_uint8)),
        ("tab_input_registers", ctypes.POINTER(ctypes.c_uint16)),
        ("tab_registers", ctypes.POINTER(ctypes.c_uint16)),
    ]


def main(kind: str, path: str = "") -> None:
    lib = ctypes.CDLL(LIBRARY, use_errno=True)
    for function in (lib.modbus_new_tcp, lib.modbus_new_rtu):
        function.restype = ctypes.c_void_p
    lib.modbus_mapping_new.restype = ctypes.POINTER(Mapping)
    mapping = lib.modbus_mapping_new(COUNT, COUNT, COUNT, COUNT)
    for a in range(COUNT):
        mapping.contents.tab_registers[a] = 3 * a + 1
        mapping.contents.tab_input_registers[a] = 5 * a + 2
        mapping.contents.tab_bits[a] = a % 3 == 0
        mapping.contents.tab_input_bits[a] = a % 2
    context = ctypes.c_void_p(_rtu(lib, path) if kind == "rtu" else lib.modbus_new_tcp(None, 0))
    check(lib.modbus_set_slave(context, UNIT))
    if kind == "rtu":
        check(lib.modbus_connect(context))
        _say("ready")
        _answer(lib, context, mapping)
        return
    listening = ctypes.c_int(check(lib.modbus_tcp_listen(context, 1)))
    _say(socket.socket(fileno=os.dup(listening.value)).getsockname()[1])
    while True:
        check(lib.modbus_tcp_accept(context, ctypes.byref(listening)))
        _answer(lib, context, mapping)
        lib.modbus_close(context)


def _rtu(lib: ctypes.CDLL, path: str) -> int:
    return lib.modbus_new_rtu(path.encode(), 19200, ctypes.c_char(b"N"), 8, 1)


def _answer(lib: ctypes.CDLL, context: ctypes.c_void_p, mapping: object) -> None:
    query = (ctypes.c_uint8 * LONGEST)()
    while (length := lib.modbus_receive(context, query)) != -1:
        if length:
            lib.modbus_reply(context, query, length, mapping)


def _say(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def check(result: int) -> int:
    if result == -1:
        raise OSError(ctypes.get_errno(), "libmodbus")
    return result


if __name__ == "__main__":
    main(*sys.argv[1:])
