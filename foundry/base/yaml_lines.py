"""YAML of others with the lines where things stand: several documents, lists of objects, keys that stand twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from foundry.base.yaml_files import check_depth

_DEEPEST = 50
_MOST = 200_000  # values of a file; aliases can make a short one unfold without end
Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """A document: mappings, lists, texts, numbers, booleans, None; dates are texts.

    `lines` (from 1) are of all that is in it, by path; `twice` are paths of keys that a mapping has more than once.
    """

    value: Any
    lines: dict[Path, int] = field(default_factory=dict)
    twice: list[Path] = field(default_factory=list)

    def line(self, path: Path) -> int:
        """Where it stands, or the nearest thing that has it."""
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path, 1)


def located(content: bytes) -> list[Document]:
    """The documents of a file, without empty ones; JSON is YAML, too. ValueError with one line on what is wrong."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    documents = []
    try:
        check_depth(yaml.parse(content, Loader=loader))
        for node in yaml.compose_all(content, Loader=loader):
            if node is not None:
                document = Document(None)
                documents.append(Document(_value(node, (), document, [_MOST]), document.lines, document.twice))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ValueError(f"is not YAML: {getattr(error, 'problem', None) or error}{place}") from error
    return [one for one in documents if one.value is not None]


def _value(node: Any, path: Path, into: Document, left: list[int]) -> Any:
    import yaml

    left[0] -= 1
    if left[0] < 0 or len(path) > _DEEPEST:
        raise ValueError("has too many values, or refers to itself")
    into.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key, below in node.value:
            name = str(getattr(key, "value", "?"))
            if name in found:
                into.twice.append((*path, name))
            into.lines[(*path, name)] = key.start_mark.line + 1
            found[name] = _value(below, (*path, name), into, left)
        return found
    if isinstance(node, yaml.SequenceNode):
        return [_value(below, (*path, place), into, left) for place, below in enumerate(node.value)]
    return _scalar(node.tag.rpartition(":")[2], str(node.value))


def _scalar(kind: str, text: str) -> Any:
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() in ("true", "yes", "on")
    try:
        return int(text) if kind == "int" else float(text) if kind == "float" else text
    except ValueError:  # 0o17, 1:30, .inf: nothing here is a number of that kind
        return text


def objects(document: Document) -> Iterator[tuple[Any, Path]]:
    """The objects of a document with their paths: itself, or the `items` of a list of Kubernetes."""
    value = document.value
    if isinstance(value, dict) and str(value.get("kind", "")).endswith("List") and isinstance(value.get("items"), list):
        yield from ((one, ("items", place)) for place, one in enumerate(value["items"]))
    else:
        yield value, ()
