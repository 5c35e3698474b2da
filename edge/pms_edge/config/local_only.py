"""What a configuration pushed from the engine may not change: the gateway's own file decides it."""

from typing import Any

from pms_edge.config.located import Document, KeyPath

# Who the gateway is, who may configure it, what may move machines, which files it opens.
LOCAL: tuple[KeyPath, ...] = (
    ("gateway",),
    ("push",),
    ("writes",),
    ("profiles",),
    ("spool", "path"),
    ("uplink", "password_file"),
    ("uplink", "tls"),
)
FILES = ("password_file", "tls")
STAYS = "stays as the gateway's own file has it"


def keep_local(pushed: Document, local: Document) -> None:
    """Fills what `pushed` leaves out of LOCAL from the gateway's own file; notes what differs."""
    if pushed.mistakes:
        return
    endpoints = value_at(pushed.content, ("endpoints",))
    names: list[str] = (
        [n for n, value in endpoints.items() if isinstance(value, dict)]
        if isinstance(endpoints, dict)
        else []
    )
    for path in (*LOCAL, *(("endpoints", name, key) for name in names for key in FILES)):
        ours, theirs = value_at(local.content, path), value_at(pushed.content, path)
        if theirs is None:
            _fill(pushed.content, path, ours)
        elif theirs != ours:
            pushed.add(path, STAYS)


def keep_writes(pushed: Document, local: Document | None) -> None:
    """A pushed profile may name points to write only as the gateway's profile of that name does."""
    if not pushed.content.get("writes"):
        return
    for key in ("writes", "measurement", "defaults"):
        if local is None or pushed.content.get(key) != local.content.get(key):
            what = "writes only as the gateway's own profile of this name has them"
            pushed.add((key,) if key in pushed.content else ("writes",), what)


def value_at(content: Any, path: KeyPath) -> Any:
    for key in path:
        content = content.get(key) if isinstance(content, dict) else None
    return content


def _fill(content: dict[Any, Any], path: KeyPath, value: Any) -> None:
    if value is None:
        return
    *parents, last = path
    node: Any = content
    for key in parents:
        if node.get(key) is None:
            node[key] = {}
        node = node[key]
        if not isinstance(node, dict):  # told by the section's own check
            return
    node[last] = value
