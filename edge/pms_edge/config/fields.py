"""What the models of configuration files share: strictness and durations."""

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "": 1.0}


class Strict(BaseModel):
    # Validators are built when first used: a gateway without fire panels has none for them in memory.
    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, strict=False, defer_build=True
    )


def seconds(value: object) -> float:
    """A duration such as `90s`, `500ms`, `5m`, `2h`, `3d` or plain seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)", str(value).strip())
    if isinstance(value, bool) or not match or float(match[1]) <= 0:
        raise ValueError(f"{value!r} is not a duration such as 500ms, 30s or 5m")
    return float(match[1]) * _UNITS[match[2]]


Seconds = Annotated[float, BeforeValidator(seconds)]
