"""How rare a value is, judged by a histogram of its own past.

Log-spaced bins give an empirical tail probability; beyond the largest value seen the tail is taken
to fall off exponentially, with the mean excess over the 90 % quantile as its length (the first term
of peaks over threshold: Pickands 1975, Balkema and de Haan 1974, with shape 0).
"""

import numpy as np
from numpy.typing import NDArray

_FIRST, _PER_OCTAVE, BINS = -6, 4, 64  # from 2^-6 to 2^10 scales
_EDGES = 2.0 ** (_FIRST + np.arange(BINS + 1) / _PER_OCTAVE)
_CENTRES = np.sqrt(_EDGES[:-1] * _EDGES[1:])
_SHORTEST = 0.3  # of a scale; a normal distribution has 0.4
_MEMORY = 200_000.0  # samples; older ones fade by halves

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]


def _place(z: Floats) -> Floats:
    """Where each non-negative z lies on the axis of bins; the fraction is the way through its bin."""
    with np.errstate(divide="ignore"):
        place = (np.log2(z) - _FIRST) * _PER_OCTAVE
    return np.clip(place, 0, BINS - 1e-9)


def bin_of(z: Floats) -> NDArray[np.intp]:
    """The bin of each non-negative z."""
    return _place(z).astype(np.intp)


class Tail:
    """The tails of some rows of a histogram, (rows, BINS) counts."""

    def __init__(self, counts: Floats) -> None:
        self.n = counts.sum(axis=1)
        self._counts = counts
        self._above = counts[:, ::-1].cumsum(axis=1)[:, ::-1]  # in this bin or beyond
        # Records count in part (`count`), so a bin is believed once it holds a whole sample.
        believed = counts[:, ::-1] >= 1
        top = BINS - 1 - believed.argmax(axis=1)
        self.is_full = self.n >= _MEMORY
        self.most = np.where(believed.any(axis=1), _EDGES[top + 1], np.inf)

    def score(self, z: Floats) -> Floats:
        """-log10 of the probability of a value as large as z, of each row."""
        place, row = _place(z), np.arange(len(z))
        bin_ = place.astype(np.intp)
        here = self._above[row, bin_] - self._counts[row, bin_] * (place - bin_)
        far = np.flatnonzero(z > self.most)  # none while nothing is known
        beyond = np.zeros(len(z))
        beyond[far] = (z[far] - self.most[far]) / self._length(far)
        return beyond / np.log(10) - np.log10((here + 1) / (self.n + 1))

    def reaching(self, score: Floats, rows: Rows) -> Floats:
        """The z beyond everything seen at which the score is reached, of these rows; NaN while
        nothing is known."""
        missing = np.maximum(score - np.log10(self.n[rows] + 1), 0.0)
        most = np.where(np.isinf(self.most[rows]), np.nan, self.most[rows])
        return most + missing * np.log(10) * self._length(rows)

    def _length(self, rows: Rows) -> Floats:
        """The mean excess over the 90 % quantile; costly, and seldom needed."""
        counts = self._counts[rows]
        q90 = (self._above[rows] > 0.1 * self.n[rows, None]).sum(axis=1) - 1
        start = _EDGES[np.maximum(q90, 0)]
        excess = np.maximum(_CENTRES - start[:, None], 0.0)
        beyond = np.where(excess > 0, counts, 0.0)
        with np.errstate(invalid="ignore"):
            mean = (beyond * excess).sum(axis=1) / beyond.sum(axis=1)
        return np.fmax(mean, _SHORTEST)


def count(counts: Floats, rows: Rows, z: Floats, weight: Floats, *, full: Mask) -> None:
    """Adds a value to each of these rows of the histogram, each row once; full ones fade first."""
    if full.any():
        counts[rows[full]] /= 2
    counts[rows, bin_of(z)] += weight
