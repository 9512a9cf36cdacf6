"""YAML for people's files, no more of it than JSON can say; what files said is kept by the hash of their content.

Reading YAML takes as long as all else of a configuration. A faulty file is read each time.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import Any

from foundry.base.files import canonical_json, read_json, sha256_bytes, write_atomic

_FORM = b"1 "  # another one where `parse_yaml` says something else of the same bytes
_KEPT = 40
_DEEPEST = 50
_MOST_VALUES = 100_000  # aliases can make a short file unfold without end


def parse_yaml(content: bytes) -> Any:
    """The one document in `content`, made of mappings with texts as keys, lists, texts, numbers, booleans, null.

    Raises ValueError with one line on what is wrong, for dates and other things that JSON
    does not have, too: no schema could tell what they are.
    """
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C where it is built
    try:
        check_depth(yaml.parse(content, Loader=loader))
        document = yaml.load(content, Loader=loader)  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ValueError(f"is not YAML: {getattr(error, 'problem', None) or error}{place}") from error
    except (ValueError, LookupError, AttributeError) as error:  # PyYAML's own, for 2025-02-30 and `!!int x`
        raise ValueError(f"is not YAML: it has a value that can't be read: {error}") from error
    _check_plain(document, [_MOST_VALUES, _DEEPEST])
    return document


def check_depth(events: Iterable[Any]) -> None:
    """PyYAML builds the document by recursion in C and crashes the process where a text is nested too deep."""
    import yaml

    depth = 0
    for event in events:
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise ValueError(f"it is nested deeper than {_DEEPEST} levels")


def _check_plain(value: Any, left: list[int]) -> None:
    """`left` holds how many values may still come, and how many levels; what holds itself has no last one."""
    count, levels = left
    left[0] -= 1
    if not count or not levels:
        raise ValueError("has too many values, or refers to itself")
    if isinstance(value, (dict, list)):
        left[1] -= 1
        for key in value if isinstance(value, dict) else ():
            if not isinstance(key, str):
                raise ValueError(f"has the key {key!r}, which is no text: put it in quotes")
        for below in value.values() if isinstance(value, dict) else value:
            _check_plain(below, left)
        left[1] += 1
    elif not (value is None or isinstance(value, (str, int)) or (isinstance(value, float) and isfinite(value))):
        raise ValueError(f"has {value!r}, which is neither text nor number: put it in quotes")


class YamlCache:
    """Documents of YAML files, kept in one file."""

    def __init__(self, kept: Path) -> None:
        self.kept = kept
        found = read_json(kept)
        self._known: dict[str, Any] = found if isinstance(found, dict) else {}
        self._changed = False

    def yaml(self, content: bytes) -> Any:
        """The document; ValueError with one line on what is wrong."""
        name = sha256_bytes(_FORM + content)
        if name in self._known:
            return self._known[name]
        document = self._known[name] = parse_yaml(content)
        self._changed = True
        return document

    def keep(self) -> None:
        """Write the documents down if there are new ones; where that can't be they are parsed again."""
        if self._changed:
            newest = dict(list(self._known.items())[-_KEPT:])
            with suppress(OSError):
                write_atomic(self.kept, canonical_json(newest))
            self._changed = False
