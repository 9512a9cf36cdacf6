"""Fields of users' objects that there are not, that are missing, or of another type (schemas/manifests.schema.json)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from foundry.base.names import near
from foundry.base.schema import ValidationCache
from foundry.base.yaml_lines import Path as Place
from foundry.kmm.objects import At, Finding

_TYPES = {"string": "a text", "object": "a mapping", "array": "a list", "boolean": "true or false",
          "integer": "a number", "number": "a number", "null": "nothing"}
_DEFINED = "as the definition has it"


def faults_of_fields(at: At, validation: ValidationCache) -> tuple[At, list[Finding]]:
    """What is wrong, and the object as it was meant: numbers and the like are texts where there must be one."""
    value = _without_nulls(at.value)
    found: list[Finding] = []
    for error in validation.errors("manifests", value):
        path: Place = (*at.path, *error.absolute_path)
        found += _findings(error, path)
        if error.validator == "type" and error.validator_value == "string" and isinstance(
            error.instance, bool | int | float
        ):
            _put(value, tuple(error.absolute_path), _text(error.instance))
    return At(value, at.path), found


def _findings(error: Any, path: Place) -> Iterator[Finding]:
    wanted, value = error.validator_value, error.instance
    if error.validator in ("additionalProperties", "unevaluatedProperties"):
        known = [*error.schema.get("properties", ()), *(_OF_PLUGINS if error.validator[0] == "u" else ())]
        for name in re.findall(r"'([^']*)'", error.message.rpartition("(")[2]) or ["?"]:
            yield Finding("unknown-field", (*path, name), f"there is no field {name!r}{near(name, known)}",
                          "the API server drops such a field, or refuses the object")
    elif error.validator == "required":
        name = error.message.split("'")[1]
        yield Finding("required", (*path, name), f"{name} is missing", "the definition asks for it")
    elif error.validator == "type":
        quotes = wanted == "string" and not isinstance(value, dict | list)
        yield Finding("type", path, f"it must be {_TYPES[wanted]}, and is {_TYPES[_type(value)]}",
                      "put it in quotes" if quotes else _DEFINED)
    elif error.validator == "pattern":
        yield Finding("name", path, f"{value!r} is no name that Kubernetes takes", "small letters, digits and `-`")
    elif error.validator == "minLength":
        yield Finding("required", path, f"{path[-1]} is empty", "the definition asks for it")
    elif error.validator == "enum":
        yield Finding("value", path, f"it must be one of {', '.join(wanted)}", _DEFINED)
    else:
        yield Finding("value", path, str(error.message)[:200], _DEFINED)


_OF_PLUGINS = ("automountServiceAccountToken", "container", "initContainer", "serviceAccountName", "volumes")


def _type(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return "null" if value is None else "boolean"
    return {str: "string", dict: "object", list: "array", int: "integer"}.get(type(value), "number")


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _without_nulls(value: Any, name: str = "") -> Any:
    """The API server leaves out fields without a value; of labels that is a mistake, as it chooses other nodes."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(below, key) for key, below in value.items()
                if below is not None or name in ("selector", "labels")}
    return [_without_nulls(below) for below in value] if isinstance(value, list) else value


def _put(value: Any, path: Place, text: str) -> None:
    for part in path[:-1]:
        value = value[part]
    value[path[-1]] = text
