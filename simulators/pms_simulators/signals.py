"""Repeatable randomness: every value is a pure function of (seed, name, time)."""

from __future__ import annotations

import hashlib
import random
from functools import lru_cache

_MASK = (1 << 64) - 1
# Standard deviation of a sum of four uniform 16-bit numbers: 2 * 65536 / sqrt(12).
_SUM_SIGMA = 37837.2


def stream(seed: int, *names: str) -> int:
    """A 64-bit key for one named source of randomness."""
    text = "/".join((str(seed), *names)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def _mix(key: int, index: int) -> int:
    """splitmix64 (Steele, Lea, Flood 2014): a counter-based 64-bit generator."""
    z = (key + index * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def uniform(key: int, index: int) -> float:
    """A number in [0, 1) for (key, index)."""
    return _mix(key, index) / 2**64


def gauss(key: int, index: int) -> float:
    """Nearly normal noise of sigma 1, bounded to +-3.47 (sum of four uniforms)."""
    z = _mix(key, index)
    total = (z & 0xFFFF) + ((z >> 16) & 0xFFFF) + ((z >> 32) & 0xFFFF) + (z >> 48)
    return (total - 131070) / _SUM_SIGMA


_target = lru_cache(maxsize=256)(gauss)


def drift(key: int, t_s: float, period_s: float) -> float:
    """Noise of sigma <= 1 that wanders smoothly, with a new target every `period_s`."""
    index, rest = divmod(t_s, period_s)
    x = rest / period_s
    low, high = _target(key, int(index)), _target(key, int(index) + 1)
    return low + (high - low) * x * x * (3 - 2 * x)


def generator(key: int, index: int) -> random.Random:
    """A sequential generator for one bucket of time, so a restart draws the same numbers."""
    return random.Random(_mix(key, index))
