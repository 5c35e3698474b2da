"""YAML whose every mistake can be named as `file:line: key.path: what is wrong`."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

Key = str | int
KeyPath = tuple[Key, ...]
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Mistake:
    file: str
    line: int
    path: str
    what: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.path}: {self.what}" if self.path else f"{place}: {self.what}"


class ConfigError(Exception):
    """All mistakes of a configuration, in the order of file and line."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = sorted(set(mistakes), key=lambda m: (m.file, m.line, m.path))
        super().__init__("\n".join(map(str, self.mistakes)))


def dotted(path: KeyPath) -> str:
    """`("devices", 2, "unit")` as `devices[2].unit`."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".")


def suggest(word: object, known: Sequence[str]) -> str:
    """`; did you mean 'x'?` for the closest of `known`, or nothing."""
    close = difflib.get_close_matches(str(word), known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


class Document:
    """One YAML file: its plain content, the line of every key, and the mistakes found in it."""

    def __init__(self, file: str | Path, text: str | None = None) -> None:
        self.file = str(file)
        self.mistakes: list[Mistake] = []
        self._tree: Any = None
        try:
            content = Path(file).read_text("utf-8") if text is None else text
            self._tree = YAML(typ="rt").load(content)  # round-trip keeps line numbers
        except OSError as error:
            self._say(0, f"cannot be read: {error.strerror}")
        except UnicodeDecodeError as error:
            self._say(0, f"is not UTF-8 (byte {error.start})")
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            problem = str(error.problem or error.context).splitlines()[0].split(" with value")[0]
            self._say(mark.line + 1 if mark else 0, f"is not valid YAML: {problem}")
        except YAMLError as error:
            self._say(0, f"is not valid YAML: {str(error).splitlines()[0]}")
        self.content: Any = _plain(self._tree)
        if not self.mistakes and not isinstance(self.content, dict):
            self._say(1, "is not a mapping of keys")
        if not isinstance(self.content, dict):
            self.content = {}

    def section(self, key: str, kind: type[Any], *, required: bool = False) -> Any:
        """The value of a top-level key, or an empty `kind` after noting what is wrong with it."""
        value = self.content.get(key)
        if value is None:
            if required:
                self.add((key,), "required key is missing")
            return kind()
        if isinstance(value, kind):
            return value
        self.add((key,), f"must be a {'mapping' if kind is dict else 'list'}")
        return kind()

    def parse(self, model: type[Model], value: object, path: KeyPath) -> Model | None:
        """`value` as a model; None after noting every mistake in it."""
        try:
            return model.model_validate(value)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                self.add(path + _resolvable(value, detail["loc"]), _describe(model, detail))
            return None

    def add(self, path: KeyPath, what: str) -> None:
        self.mistakes.append(Mistake(self.file, self.line(path), dotted(path), what))

    def line(self, path: KeyPath) -> int:
        """Line (from 1) of the deepest part of `path` that the file has."""
        node, line = self._tree, 1
        for key in path:
            found = _child(node, key)
            if found is None:
                break
            node, line = found
        return line

    def _say(self, line: int, what: str) -> None:
        self.mistakes.append(Mistake(self.file, line, "", what))


def _child(node: Any, key: Key) -> tuple[Any, int] | None:
    if isinstance(node, CommentedMap) and key in node:
        return node[key], int(node.lc.key(key)[0]) + 1
    if isinstance(node, CommentedSeq) and isinstance(key, int) and key < len(node):
        return node[key], int(node.lc.item(key)[0]) + 1
    return None


def _plain(node: Any) -> Any:
    """ruamel's annotated values as the plain Python ones that pydantic expects."""
    if isinstance(node, Mapping):
        items = cast(Mapping[Any, Any], node)
        return {_plain(key): _plain(value) for key, value in items.items()}
    if isinstance(node, list):
        return [_plain(value) for value in cast(list[Any], node)]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


def _resolvable(value: object, loc: tuple[Key, ...]) -> KeyPath:
    """pydantic's location without its own inventions (`[key]`, names of union members)."""
    path: list[Key] = []
    node: Any = value
    for key in loc:
        if not _holds(node, key):
            if isinstance(node, dict) and isinstance(key, str) and key != "[key]":
                path.append(key)  # a missing key: named, at the line of its parent
            break
        path.append(key)
        node = node[key]
    return tuple(path)


def _holds(node: Any, key: Key) -> bool:
    return (isinstance(node, dict) and key in node) or (
        isinstance(node, list) and isinstance(key, int)
    )


def _description(model: type[BaseModel], loc: KeyPath) -> str:
    """What the innermost field of `loc` should be, in the words of its own declaration."""
    text = "allowed"
    for key in loc:
        field = model.model_fields.get(str(key))
        text = (field and field.description) or text
        if field and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            model = field.annotation
    return text


def _describe(model: type[BaseModel], detail: Any) -> str:
    kind, value = detail["type"], detail["input"]
    if kind == "missing":
        return "required key is missing"
    if kind == "extra_forbidden":
        known = [field.alias or name for name, field in model.model_fields.items()]
        return f"unknown key{suggest(detail['loc'][-1], known)}"
    if kind == "literal_error":
        known = [
            word.strip("' ") for word in detail["ctx"]["expected"].replace(" or ", ",").split(",")
        ]
        return f"{value!r} is not one of {', '.join(known)}{suggest(value, known)}"
    if kind in ("string_pattern_mismatch", "too_long"):
        return f"{value!r} is not {_description(model, detail['loc'])}"
    message = str(detail["msg"]).removeprefix("Value error, ")
    if kind == "value_error":
        return message
    return f"{message[0].lower()}{message[1:]}, not {value!r}"
