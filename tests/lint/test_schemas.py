"""Each rule stands in one schema: what two places share is a common part, and no part is unused."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from foundry.base.schema import SCHEMAS, closure
from tests.lint.test_lint import ROOT

FOLDER = ROOT / SCHEMAS
DOCUMENTS = {path.name: json.loads(path.read_bytes()) for path in sorted(FOLDER.glob("*.schema.json"))}
MEMBERS = 6  # of a text with two or three rules, a reference would take as much room


def members(value: Any) -> int:
    """How many members a value has, those of its parts too."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return sum(1 + members(part) for part in parts)


def subtrees(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list):
        yield place, value
        for name, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from subtrees(part, f"{place}/{name}")


def references() -> dict[str, set[str]]:
    """File → the places that it refers to, as ``file#/path``."""
    return {
        file: {
            part["$ref"] if not part["$ref"].startswith("#") else file + part["$ref"]
            for _, part in subtrees(document, "") if isinstance(part, dict) and isinstance(part.get("$ref"), str)
        }
        for file, document in DOCUMENTS.items()
    }


def test_no_rule_is_written_twice() -> None:
    places = defaultdict(list)
    for file, document in DOCUMENTS.items():
        for place, value in subtrees(document, file + "#"):
            if members(value) >= MEMBERS:
                places[json.dumps(value, sort_keys=True)].append(place)
    assert [same for same in places.values() if len(same) > 1] == []


def test_every_part_is_there_and_is_used() -> None:
    used = set().union(*references().values())
    parts = {f"{file}#/$defs/{name}" for file, document in DOCUMENTS.items() for name in document.get("$defs", {})}
    assert used - parts == {"settings.schema.json"}  # of the defaults: the whole schema
    assert parts - used == set()


def test_the_closure_follows_every_reference() -> None:
    """It finds them in the text; here they are found in what the text says."""
    files = {file: {place.partition("#")[0] for place in places} | {file} for file, places in references().items()}
    for file in DOCUMENTS:
        reached = {file}
        while more := set().union(*(files[one] for one in reached)) - reached:
            reached |= more
        assert {name for name, _ in closure(FOLDER, file.removesuffix(".schema.json"))} == reached
