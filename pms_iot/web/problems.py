"""What an API says when it refuses: application/problem+json (RFC 9457), naming the parameter."""

from typing import Any

import orjson
from fastapi import Request, Response

from pms_iot.kernel.errors import PmsError

MEDIA_TYPE = "application/problem+json"
_TITLES = {
    400: "Bad request",
    404: "Not found",
    406: "Not acceptable",
    409: "Conflict",
    413: "Too much",
    422: "Wrong parameter",
    503: "Not now",
}


class ProblemError(PmsError):
    """A request that is refused; `parameter` is the one at fault, `more` what a program may need."""

    def __init__(
        self, status: int, detail: str, parameter: str | None = None, **more: object
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.parameter = parameter
        self.more = more


def refuse(_request: Request, error: Exception) -> Response:
    """The answer for a ProblemError."""
    assert isinstance(error, ProblemError)
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": _TITLES.get(error.status, "Refused"),
        "status": error.status,
        "detail": error.detail,
    }
    if error.parameter is not None:
        body["parameter"] = error.parameter
    headers = {"Retry-After": "1"} if error.status == 503 else None
    return Response(orjson.dumps(body | error.more), error.status, headers, MEDIA_TYPE)
