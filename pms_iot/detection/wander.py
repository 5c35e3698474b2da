"""Drift: a level that slowly leaves where it has been.

Source: the study in the detection reference (slow-level records); exponentially weighted averages,
Roberts 1959. The chart of a single point over minutes to hours is `pms_iot.detection.drift`.
"""

import numpy as np

from pms_iot.detection.models import L32, SLOWEST, Floats, Moment


def features(moment: Moment, floor: Floats) -> Floats:
    """(1, n): distance from the slowest level, in usual sizes of that distance."""
    usual = np.maximum(moment.errors[:, SLOWEST], floor)
    return (np.abs(moment.residuals[:, SLOWEST]) / usual)[None]


def records(moment: Moment) -> Floats:
    """(1, n): the level over 32 steps."""
    return moment.levels[:, L32][None]
