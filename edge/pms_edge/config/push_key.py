"""The key with which the engine signs configuration and writes for one gateway."""

from pathlib import Path

from pms_edge.config.environment import ENV_PREFIX, Secret
from pms_edge.config.gateway_file import Push
from pms_edge.config.located import Document

MIN_KEY_BYTES = 32


def read_push(document: Document, folder: Path) -> Push | None:
    """Section `push` with its key, or None; mistakes are added to `document`."""
    raw = document.section("push", dict)
    if "push" not in document.content:
        if document.content.get("writes"):
            document.add(("writes",), "`writes: true` needs `push`: unsigned writes are refused")
        return None
    if "key" in raw and not isinstance(raw["key"], Secret):
        what = f"no key in this file: use key_file or {ENV_PREFIX}PUSH__KEY"
        document.add(("push", "key"), what)
    push = document.parse(Push, raw, ("push",))
    key = push and _key(document, folder, push)
    if push is None or key is None:
        return None
    if len(key) < MIN_KEY_BYTES:
        what = f"a key has at least {MIN_KEY_BYTES} bytes, this one has {len(key)}"
        document.add(("push", "key_file" if push.key_file else "key"), what)
    return push.model_copy(update={"key": key})


def _key(document: Document, folder: Path, push: Push) -> bytes | None:
    if push.key is not None:  # the environment goes before the file
        return push.key
    if push.key_file is None:
        document.add(("push",), "needs `key_file`")
        return None
    try:
        return (folder / push.key_file).read_bytes().strip()
    except OSError as error:
        document.add(("push", "key_file"), f"cannot be read: {error.strerror}")
        return None
