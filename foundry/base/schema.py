"""JSON Schema checks: all faults of a document at once, each with its path.

What was found good is kept by a hash over the document and its schema with all
files that this refers to, so that a run in which nothing changed does not
import jsonschema (0.15 s).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from foundry.base.errors import ConfigError, Fault
from foundry.base.files import parse_json, pretty_json, read_file, read_json, sha256_bytes, write_atomic

SCHEMAS = Path("schemas")  # below the checkout; all that reads a schema finds it by this

_KEPT = 500
_REFERENCE = re.compile(rb'"\$ref"\s*:\s*"([^"#]+)')  # finding them takes no parsing in a run with nothing to do

# A schema's files, itself first, as names and contents: what validation depends on.
_Closure = tuple[tuple[str, bytes], ...]


class ValidationCache:
    """The hashes of (schema, content) pairs known to be good, kept in one file."""

    def __init__(self, root: Path, kept: Path, *, writes: bool = True) -> None:
        self.schemas = root / SCHEMAS
        self.kept = kept
        self.writes = writes
        found = read_json(kept)
        self._good = [one for one in found if isinstance(one, str)] if isinstance(found, list) else []
        self._known = set(self._good)
        self._changed = False

    def check(self, schema: str, document: Any, content: bytes, file: str) -> list[Fault]:
        """The faults of a document against ``schemas/<schema>.schema.json``; `file` names it in them."""
        files = closure(self.schemas, schema)
        pair = sha256_bytes(b"\0".join([*(data for _, data in files), content]))
        if pair in self._known:
            return []
        faults = self.faults(schema, document, file)
        if not faults:
            self._good.append(pair)
            self._known.add(pair)
            self._changed = True
        return faults

    def faults(self, schema: str, document: Any, file: str) -> list[Fault]:
        """As `check`, without asking the cache or keeping anything."""
        try:
            return [
                Fault(file, _json_path(error.absolute_path), _sentence(error))
                for error in _validator(closure(self.schemas, schema)).iter_errors(document)
            ]
        except RecursionError:
            return [Fault(file, "", "is nested too deep")]

    def errors(self, schema: str, document: Any) -> Iterator[Any]:
        """The faults as jsonschema has them (`jsonschema.ValidationError`), for documents of others."""
        with suppress(RecursionError):
            yield from _validator(closure(self.schemas, schema)).iter_errors(document)

    def parsed(self, schema: str, data: bytes, file: str) -> Any:
        """The checked document in a JSON file's content; ConfigError when it is none."""
        try:
            document = parse_json(data)
        except ValueError as error:
            raise ConfigError([Fault(file, "", f"is not JSON: {error}")]) from error
        faults = self.check(schema, document, data, file)
        if faults:
            raise ConfigError(faults)
        return document

    def keep(self) -> None:
        """Write down what was found good, if anything is new; where that can't be it is found out again."""
        if self._changed and self.writes:
            with suppress(OSError):
                write_atomic(self.kept, pretty_json(self._good[-_KEPT:]))
            self._changed = False


@lru_cache(maxsize=64)
def closure(folder: Path, schema: str) -> _Closure:
    """The schema's own file, and those that it refers to, directly or through others."""
    found: dict[str, bytes] = {}
    names = [f"{schema}.schema.json"]
    while names:
        name = names.pop()
        if name not in found:
            found[name] = _read(folder / name)
            names += [match.decode() for match in _REFERENCE.findall(found[name])]
    return tuple(found.items())


@lru_cache(maxsize=64)
def _read(path: Path) -> bytes:
    return read_file(path)


@lru_cache(maxsize=64)
def _validator(files: _Closure) -> Any:
    from jsonschema import Draft202012Validator, ValidationError
    from jsonschema.validators import extend
    from referencing import Registry
    from referencing.jsonschema import DRAFT202012

    def pattern(_: Any, regex: str, instance: Any, __: Any) -> Iterator[ValidationError]:
        """JSON Schema's `$` is the end of the text (ECMA-262); Python's lets a newline follow."""
        if isinstance(instance, str) and not re.search(re.sub(r"\$(?=\)|$)", r"\\Z", regex), instance):
            yield ValidationError(f"{instance!r} does not match {regex!r}")

    def integer(_: Any, instance: Any) -> bool:
        """JSON Schema's 1.0 is an integer, too; to Python it is a float, and 1e300 is no number of anything."""
        return isinstance(instance, int) and not isinstance(instance, bool)

    checker = Draft202012Validator.TYPE_CHECKER.redefine("integer", integer)
    validator: Any = extend(  # type: ignore[no-untyped-call]  # reason: jsonschema leaves it untyped
        Draft202012Validator, {"pattern": pattern}, type_checker=checker
    )
    documents = {name: json.loads(data) for name, data in files}
    for document in documents.values():
        del document["$schema"]  # jsonschema would take the plain validator for a file that names its draft
    registry: Registry[Any] = Registry().with_contents(documents.items(), default_specification=DRAFT202012)
    return validator({"$ref": files[0][0]}, registry=registry)


def _json_path(parts: Any) -> str:
    path = "$"
    for part in parts:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path


def _sentence(error: Any) -> str:
    message: str = error.message
    if error.validator == "pattern":
        form = error.schema.get("description", f"the form {error.validator_value}")
        message = f"{error.instance!r} is not {form}"
    elif error.validator == "not":
        message = f"{error.instance!r} must not contain '..'"
    elif error.validator == "unevaluatedProperties":  # the same fault in a schema that builds on another
        message = message.replace("Unevaluated", "Additional", 1)
    return message if len(message) <= 300 else message[:297] + "..."  # noqa: PLR2004 - a line, not a page
