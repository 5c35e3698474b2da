"""One YAML file with the line of each key, and the mistakes found in it."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from pms_iot.kernel.errors import ConfigError

Where = tuple[str | int, ...]
"""The way to a value: keys of mappings and positions in lists."""


class PackError(ConfigError):
    """Everything that is wrong with the rule packs; `problems` has one `file:line: key: problem` each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("rules", f"{len(problems)} problem(s)\n" + "\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Document:
    """What a file says: plain values, and the line (from 1) on which each of them stands."""

    name: str
    content: Any
    lines: dict[Where, int]

    def problem(self, where: Where, what: str) -> str:
        """`file:line: key: what`; a key that is missing is shown on the line of what should hold it."""
        near = where
        while near and near not in self.lines:
            near = near[:-1]
        key = ".".join(map(str, where))
        return f"{self.name}:{self.lines.get(near, 1)}: " + (f"{key}: {what}" if key else what)


def read_document(file: Path, name: str, problems: list[str]) -> Document | None:
    """The file, or None if it is not YAML; mistakes, doubled keys among them, go to `problems`."""
    yaml = YAML(typ="safe")
    try:
        root: Node | None = yaml.compose(file)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        problems.append(f"{name}:{line}: {error.problem or 'not YAML'}")
        return None
    except UnicodeDecodeError as error:
        problems.append(f"{name}:1: not UTF-8: {error.reason}")
        return None
    document = Document(name, None, {(): 1})
    content = _Reader(yaml, document, problems).value(root, ()) if root is not None else {}
    return Document(name, content, document.lines)


class _Reader:
    """Turns nodes, which know their lines, into plain values."""

    def __init__(self, yaml: YAML, document: Document, problems: list[str]) -> None:
        self._yaml, self._document, self._problems = yaml, document, problems

    def value(self, node: Node, where: Where) -> Any:
        if isinstance(node, MappingNode):
            return self._mapping(node, where)
        if isinstance(node, SequenceNode):
            return [self._item(child, (*where, i)) for i, child in enumerate(node.value)]
        assert isinstance(node, ScalarNode)
        return self._yaml.constructor.construct_object(node, deep=True)

    def _item(self, node: Node, where: Where) -> Any:
        self._document.lines[where] = node.start_mark.line + 1
        return self.value(node, where)

    def _mapping(self, node: MappingNode, where: Where) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for key_node, child in node.value:
            key = self.value(key_node, where)
            self._document.lines[(*where, key)] = key_node.start_mark.line + 1
            if key in found:
                self._problems.append(self._document.problem((*where, key), "stands here twice"))
            found[key] = self.value(child, (*where, key))
        return found


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """`; did you mean 'above'?` for a word that is close to a known one, else nothing."""
    close = difflib.get_close_matches(str(word), list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
