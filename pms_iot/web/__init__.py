"""Server-rendered pages and the small API behind their charts and live values."""

from pms_iot.web.app import create_app
from pms_iot.web.deps import WebDeps
from pms_iot.web.live import LiveFeed

__all__ = ["LiveFeed", "WebDeps", "create_app"]
