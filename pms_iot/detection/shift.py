"""Level shift: a short average that has left a longer one.

Source: the difference of two exponentially weighted averages (Roberts 1959), on two pairs of windows.
"""

import numpy as np

from pms_iot.detection.models import L4, L8, L64, Floats, Moment


def features(moment: Moment) -> Floats:
    """(1, n): gap between the levels over 8 and 64 steps, in usual sizes of the residual."""
    return (np.abs(moment.levels[:, L8] - moment.levels[:, L64]) / moment.scale)[None]


def records(moment: Moment) -> Floats:
    """(2, n): the level over 8 steps, and the band between the levels over 4 and 64."""
    return np.stack((moment.levels[:, L8], moment.levels[:, L4] - moment.levels[:, L64]))
