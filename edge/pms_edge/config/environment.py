"""Settings from the environment laid over the gateway file: PMS_EDGE_UPLINK__HOST and the like."""

from collections.abc import Mapping
from typing import Any

from pms_edge.config.located import Document, Mistake, dotted

ENV_PREFIX = "PMS_EDGE_"
SECRETS = ("PASSWORD", "PUSH__KEY")


class Secret(str):
    """A password that came from the environment."""

    __slots__ = ()


def override(document: Document, env: Mapping[str, str]) -> dict[str, str]:
    """Puts PMS_EDGE_UPLINK__…, SPOOL__… and PUSH__KEY over the file; returns path -> variable.

    PUSH__KEY is only for a file that has `push`: the environment does not switch it on.
    """
    sections = ["UPLINK__", "SPOOL__"] + (["PUSH__"] if "push" in document.content else [])
    prefixes = tuple(ENV_PREFIX + section for section in sections)
    names: dict[str, str] = {}
    for name, text in sorted(env.items()):
        if not name.startswith(prefixes):
            continue
        *parents, key = name.removeprefix(ENV_PREFIX).lower().split("__")
        node: dict[str, Any] = document.content
        for parent in parents:
            if not isinstance(node.get(parent), dict):
                node[parent] = {}
            node = node[parent]
        node[key] = Secret(text) if name.endswith(SECRETS) else text
        names[dotted((*parents, key))] = name
    return names


def from_environment(mistake: Mistake, overrides: Mapping[str, str]) -> Mistake:
    name = overrides.get(mistake.path)
    return mistake if name is None else Mistake("environment", 0, name, mistake.what)
