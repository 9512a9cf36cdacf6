"""Objects of clusters as users wrote them, and what is wrong at a place of one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from foundry.base.yaml_lines import Path as Place


@dataclass(frozen=True)
class Finding:
    """A mistake: the rule's name, where it is in the object, what is wrong, and how it is mended.

    A `warning` is of what works today, or may be meant so.
    """

    rule: str
    path: Place
    message: str
    mend: str
    warning: bool = False


@dataclass(frozen=True)
class At:
    """A value of an object, and where it is."""

    value: Any
    path: Place = ()

    def __getitem__(self, name: str | int) -> At:
        """What it has of that name; of what it has not, the value is None."""
        value = self.value
        if isinstance(name, int):
            found = value[name] if isinstance(value, list) and name < len(value) else None
        else:
            found = value.get(name) if isinstance(value, dict) else None
        return At(found, (*self.path, name))

    def __contains__(self, name: str) -> bool:
        return isinstance(self.value, dict) and self.value.get(name) is not None

    def __iter__(self) -> Iterator[At]:
        for place, _ in enumerate(self.value if isinstance(self.value, list) else ()):
            yield self[place]

    @property
    def text(self) -> str:
        """The value where it is a text; else empty."""
        return self.value if isinstance(self.value, str) else ""

    @property
    def texts(self) -> list[str]:
        """The texts in the list that it is."""
        return [one.text for one in self if one.text]

    def says(self, rule: str, message: str, mend: str, *, warning: bool = False) -> Finding:
        """A finding at this place."""
        return Finding(rule, self.path, message, mend, warning)
