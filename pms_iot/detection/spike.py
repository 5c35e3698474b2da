"""Spike: a reading far from what is expected of it now, in usual sizes of that residual.

Source: the residual of a seasonal forecast (Holt 1957, Winters 1960), judged by its own past.
"""

import numpy as np

from pms_iot.detection.models import Floats, Moment


def features(moment: Moment) -> Floats:
    """(1, n): size of the residual from the best of week, day and level."""
    return (np.abs(moment.value - moment.expected) / moment.scale)[None]
