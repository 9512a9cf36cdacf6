"""The base images of the families: digest, build time and BusyBox, resolved into the locks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foundry.base.errors import ConfigError, Fault, FoundryError
from foundry.base.filelock import locked
from foundry.base.files import parse_json, pretty_json, write_atomic
from foundry.base.references import Reference, parse_reference
from foundry.catalogue.base_reader import read_base
from foundry.catalogue.resolve import Resolver, outside
from foundry.config.family import Family
from foundry.plan.locks import merged_base
from foundry.run.context import Foundry


def resolve_base(resolver: Resolver, family: Family, *, update: bool) -> dict[str, Any]:
    """The `base` of a family's lock (schemas/lock.schema.json). Raises OutsideError."""
    foundry = resolver.foundry
    base = foundry.config.locks[family.name].get("base") or {}
    name = family["base"]["name"]
    try:
        asked = _pinned(parse_reference(name), {} if update else base)
        sources = family["base"].get("busybox", {}).get("sources", [])
        facts = read_base(resolver.registry(asked.host), asked, foundry.settings["arch"], with_busybox=bool(sources))
    except FoundryError as error:
        raise outside(error, f"the base {name}: ", resolver.log) from error
    found: dict[str, Any] = {"name": name, "digest": facts.digest, "created": facts.created}
    if sources:
        found["busybox"] = {"version": facts.busybox, **_urls(sources, facts.busybox)}
    return found


def write_base(foundry: Foundry, family: Family, base: Mapping[str, Any]) -> bool:
    """Put the base into the lock file, beside what others put there; whether that changed anything.

    Raises ConfigError when the file is no lock any more.
    """
    name = foundry.config.lock_path(family.name)
    path = foundry.root / name
    with locked(foundry.root / foundry.config.build / f".lock-{family.name}"):
        document: Any = {"schema": 1, "packages": {}}
        try:
            document = parse_json(path.read_bytes())
        except FileNotFoundError:
            pass
        except ValueError as error:
            raise ConfigError([Fault(str(name), "", f"is not JSON: {error}")]) from error
        faults = foundry.config.validation.faults("lock", document, str(name))
        if faults:
            raise ConfigError(faults)
        data = pretty_json({**document, "base": merged_base(document.get("base", {}), base)})
        if path.exists() and parse_json(path.read_bytes()) == parse_json(data):
            return False
        write_atomic(path, data)
    foundry.journal.warn(f"{base['name']} is now locked in {name} as {base['digest']}: keep that file")
    return True


def _pinned(reference: Reference, base: Mapping[str, Any]) -> Reference:
    """The digest that is locked already, where only the rest is to be found out."""
    same = base.get("name") is not None and parse_reference(base["name"]) == reference
    return reference.at(base["digest"]) if same and not reference.digest else reference


def _urls(sources: list[str], version: str) -> dict[str, str]:
    urls = [source.replace("{version}", version).replace("{version_underscored}", version.replace(".", "_"))
            for source in sources]
    return dict(zip(("source", "source_backup"), urls, strict=False))
