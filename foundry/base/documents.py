"""Values as documents: dataclasses whose fields are called as in their schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any


def as_document(value: Any) -> Any:
    """The value as JSON has it, an object's fields in their order; an optional field that is empty is left out."""
    if is_dataclass(value):
        pairs = ((field, getattr(value, field.name)) for field in fields(value))
        return {field.name: as_document(part) for field, part in pairs if part or _is_required(field)}
    if isinstance(value, Mapping):
        return {name: as_document(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return [as_document(part) for part in value]
    return value


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING
