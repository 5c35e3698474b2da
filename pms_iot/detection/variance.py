"""Variance: a reading that has become restless, or too quiet: bearings, cavitation, hunting.

Source: exponentially weighted variance (MacGregor and Harris 1993), short against long.
"""

import numpy as np

from pms_iot.detection.models import Floats, Moment


def features(moment: Moment, floor: Floats) -> Floats:
    """(1, n): how many times the variance of the last minutes is that of the last hours, or it of that."""
    least = floor**2
    ratio = np.log((moment.short + least) / (moment.long + least))
    return np.abs(ratio)[None]


def records(moment: Moment, floor: Floats) -> Floats:
    """(1, n): logarithm of the short variance."""
    return np.log(moment.short + floor**2)[None]
