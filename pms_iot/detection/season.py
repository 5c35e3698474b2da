"""Season: a reading that is usual, but not at this time of the day or of the week.

Source: profiles of 96 quarter hours and 336 half hours in the site's zone (Holt 1957, Winters 1960).
"""

from pms_iot.detection.models import Floats, Moment


def records(moment: Moment) -> Floats:
    """(2, n): the smoothed residuals from the profiles of the week and of the day."""
    return moment.smooth.T
