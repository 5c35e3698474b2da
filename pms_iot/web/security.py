"""Guards around every request: no cross-site writes, and headers that keep browsers strict."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data: blob:",  # Pico draws its form icons from data: URLs in its CSS
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "geolocation=(), microphone=(), payment=()",
}
_SAFE = {"GET", "HEAD", "OPTIONS"}


def is_cross_site(method: str, headers: Headers) -> bool:
    """Whether a request was sent by another site's page; the algorithm of Go's net/http CrossOriginProtection.

    Browsers send Sec-Fetch-Site (on trustworthy origins) or at least Origin with every write; a request
    with neither does not come from a browser and carries no one's cookies by accident.
    """
    if method in _SAFE:
        return False
    site = headers.get("sec-fetch-site")
    if site:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != headers.get("host")


class Guard:
    """ASGI middleware: refuses cross-site writes and puts the security headers on every answer."""

    def __init__(self, app: ASGIApp, https_only: bool) -> None:
        self._app = app
        self._headers = dict(HEADERS)
        if https_only:
            self._headers["Strict-Transport-Security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
                # Pages show what only the logged-in may see; static files set their own.
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        if is_cross_site(scope["method"], Headers(scope=scope)):
            refusal = PlainTextResponse("cross-site request refused", 403)
            return await refusal(scope, receive, send_guarded)
        return await self._app(scope, receive, send_guarded)
