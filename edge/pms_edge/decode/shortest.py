"""The shortest decimal of a 32-bit float: 0.1, where the float widened to 64 bits prints as
0.10000000149011612.
"""

import math
import struct

# Added and taken away again, it leaves the nearest integer (ties to even) of |x| < 2**51.
ROUNDING = 6755399441055744.0  # 1.5 * 2**52
MAX_EXPONENT = 24  # from 2**24 on the floats are integers
MIN_EXPONENT = -40

_F32 = struct.Struct(">f")
_PACK, _UNPACK = _F32.pack, _F32.unpack


def step(largest: float) -> float:
    """10**d for the most decimals d whose grid is no finer than the floats near `largest`.

    On that grid the nearest decimal to a smaller float is its shortest one, if it is one at all:
    the shortest lies on the grid, and within half a unit of it. 0 outside 2**-40 .. 2**24.
    """
    exponent = math.frexp(largest)[1]
    if not MIN_EXPONENT <= exponent <= MAX_EXPONENT:
        return 0.0
    ulp = math.ldexp(1.0, exponent - 24)
    decimals = math.floor(-math.log10(ulp))
    return 10.0**decimals


_STEPS = [step(math.ldexp(0.5, e)) for e in range(MIN_EXPONENT, MAX_EXPONENT + 1)]


def shortest(value: float) -> float:
    """The decimal with the fewest digits that the 32-bit float `value` is nearest to.

    Whole numbers from 2**24 to 2**53 are given back as they are, and so are NaN and infinities.
    """
    exponent = math.frexp(value)[1] - MIN_EXPONENT
    if 0 <= exponent < len(_STEPS) and value:
        grid = _STEPS[exponent]
        for scale in (grid, grid * 10):
            near = (value * scale + ROUNDING - ROUNDING) / scale
            if _UNPACK(_PACK(near))[0] == value:
                return near
    return _by_digits(value)


def _by_digits(value: float) -> float:
    if not math.isfinite(value) or not value or 2**24 <= abs(value) < 2**53:
        return value
    for digits in range(1, 9):
        near = float(f"{value:.{digits}g}")
        if abs(near) < 3.4028235e38 and _UNPACK(_PACK(near))[0] == value:
            return near
    return float(f"{value:.9g}")
