"""Static files under URLs that carry a hash of the content, so browsers may keep them for ever."""

import hashlib
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse

from pms_iot.kernel.errors import NotFoundError

ROOT = Path(__file__).with_name("static")
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".txt": "text/plain"}  # fmt: skip

router = APIRouter()


@cache
def static_url(name: str) -> str:
    """`/static/<hash>/<name>`. Raises FileNotFoundError for a name that is not shipped."""
    return f"/static/{_digest(name)}/{name}"


@cache
def _digest(name: str) -> str:
    return hashlib.sha256((ROOT / name).read_bytes()).hexdigest()[:12]


@cache
def _names() -> frozenset[str]:
    return frozenset(
        path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if path.is_file()
    )


@router.get("/static/{digest}/{name:path}", include_in_schema=False)
def static_file(digest: str, name: str) -> Response:
    """A shipped file. The hash must be the file's: an old page never gets a newer script under an old name."""
    if name not in _names() or digest != _digest(name):
        raise NotFoundError("static file", name)
    kept = {"Cache-Control": "public, max-age=31536000, immutable"}
    return FileResponse(ROOT / name, media_type=_TYPES[Path(name).suffix], headers=kept)
