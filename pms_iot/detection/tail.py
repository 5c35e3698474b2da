"""How rare a value is, judged by a histogram of its own past.

Bins four to the octave give an empirical tail probability; beyond the largest value seen the tail is
a generalised Pareto one (peaks over threshold: Pickands 1975, Balkema and de Haan 1974), with the mean
excess over the 90 % quantile as its scale and a fixed, moderately heavy shape. Below the 90 % quantile
nothing is rare and nothing is computed.
"""

import numpy as np
from numpy.typing import NDArray

BINS = 64
_LOWEST = -8  # the first bin ends at 2^-8, the last begins at 2^8 less a quarter octave
_SHIFT = (127 + _LOWEST) * 4 - 1
_STEP = np.arange(BINS) - 1
EDGES = np.where(_STEP < 0, 0.0, 2.0 ** (_LOWEST + _STEP // 4) * (1 + _STEP % 4 / 4))
WIDTHS = np.append(np.diff(EDGES), EDGES[-1] / 7)
_ENDS = EDGES + WIDTHS
_FROM = np.triu(np.ones((BINS, BINS)))  # row b: 1 from bin b on
_CENTRES = (EDGES + WIDTHS / 2).astype(np.float32)
_FROM32 = _FROM.astype(np.float32)
_EXCESS = np.maximum(_CENTRES - EDGES[:, None], 0.0)  # row b: of the centres over the edge of b
_SHORTEST = 0.05  # tail length, as a share of the 90 % quantile
_SHAPE = 0.25
_MEMORY = 1e5  # samples; older ones fade by halves
_RARE = 0.1
_MANY = 200  # histograms: from here on one bin of all after the other is faster than one histogram
_TRACE = 0.1  # of a sample: less is forgotten

Floats = NDArray[np.float64]
Counts = NDArray[np.float32]
Bins = NDArray[np.int32]
Rows = NDArray[np.intp]
Starts = NDArray[np.uint8]


def bin_of(z: Floats) -> Bins:
    """The bin of each non-negative z: its exponent and the first two bits of its mantissa."""
    bits = np.minimum(z, 1e30).astype(np.float32).view(np.int32)
    bits >>= 21
    bits -= _SHIFT
    return np.minimum(np.maximum(bits, 0, out=bits), BINS - 1, out=bits)


def score(counts: Counts, z: Floats, bins: Bins, common: Starts | None = None) -> Floats:
    """-log10 of the probability of a value as large as z, for each row of (n, BINS) counts.
    common: the bin of their 90 % quantile, where it is known."""
    past = counts.astype(np.float64)
    n = np.einsum("ij->i", past)
    within = np.minimum(np.maximum((z - EDGES[bins]) / WIDTHS[bins], 0.0), 1.0)
    above = np.einsum("ij,ij->i", past, _FROM.take(bins, axis=0))
    above -= past[np.arange(len(z)), bins] * within
    found = -np.log10((above + 1) / (n + 1))
    far = np.flatnonzero((above < 1) & (n > 0))
    if len(far):
        start = quantile_bin(counts[far]) if common is None else common[far]
        most, length = _tail(counts[far], start.astype(np.intp))
        beyond = np.maximum(z[far] - most, 0) / length
        found[far] += np.log10(1 + _SHAPE * beyond) / _SHAPE
    return found


def quantile_bin(counts: Counts) -> NDArray[np.uint8]:
    """The bin that holds the 90 % quantile, over the last axis."""
    return np.maximum(_bins_above(counts, _RARE), 1) - np.uint8(1)


def reach(counts: Counts, share: float) -> Floats:
    """The z beyond which lies less than this share of the past, or the largest seen; 0 for an empty past."""
    top = _bins_above(counts, share).astype(np.intp) - 1
    return np.where(top >= 0, _ENDS[top], 0.0)


def _bins_above(counts: Counts, share: float) -> NDArray[np.uint8]:
    """How many bins have more than this share of all in them and the bins above, over the last axis.

    Added from the top bin down, in either way: the sums are the same to the last bit.
    """
    past = counts.reshape(-1, BINS)
    if len(past) < _MANY:
        above = past[:, ::-1].cumsum(axis=1)[:, ::-1].T
    else:
        above = np.empty((BINS, len(past)), counts.dtype)
        above[-1] = past[:, -1]
        for i in range(BINS - 2, -1, -1):
            np.add(above[i + 1], past[:, i], out=above[i])
    found = above > share * above[0]
    return found.sum(axis=0, dtype=np.uint8).reshape(counts.shape[:-1])


def fade(counts: Counts) -> None:
    """Halves full histograms, in place."""
    full = counts.sum(axis=-1) > _MEMORY
    counts[full] /= 2


def _tail(counts: Counts, start: Rows) -> tuple[Floats, Floats]:
    """(largest value seen, length of the tail beyond it)."""
    top = BINS - 1 - (counts[:, ::-1] > _TRACE).argmax(axis=1)
    beyond = counts * _FROM32.take(start, axis=0)
    mean = (beyond * _EXCESS.take(start, axis=0)).sum(axis=1)
    mean /= np.maximum(beyond.sum(axis=1), 1e-9)
    return _ENDS[top], np.maximum(mean, _SHORTEST * EDGES[np.maximum(start, 1)])
