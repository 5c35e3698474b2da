"""How a machine comes and goes, from its operating state, and how fast a counter counts."""

import numpy as np

from pms_iot.derived.formula import Floats, Formula, Input


def starts_per_hour(state: Floats) -> Floats:
    """1/h."""
    return state


def run_share(state: Floats) -> Floats:
    """% of the time at work."""
    return 100 * state


def run_length(share: Floats, starts: Floats) -> Floats:
    """Seconds at work per start; undefined without a start."""
    return 3600 * share / np.where(starts > 0, starts, np.nan)


def counts_per_hour(counter: Floats) -> Floats:
    """1/h, of the change of a counter per hour."""
    return np.where(counter >= 0, counter, np.nan)


FORMULAS = (
    Formula("starts_per_hour", "1/h", (Input("state", "starts"),), starts_per_hour, covered=0.5),
    Formula("run_share", "%", (Input("state", "share"),), run_share, covered=0.5),
    Formula(
        "run_length",
        "s",
        (Input("state", "share"), Input("starts", "starts")),
        run_length,
        covered=0.5,
    ),
    Formula(
        "counts_per_hour", "1/h", (Input("counter", "slope", ""),), counts_per_hour, covered=0.5
    ),
)
