"""Driver families: the defaults that all share, the family file on top, the profile's changes on top of that."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from foundry.base.errors import Fault
from foundry.base.templates import FIELDS, fields_of, fill_known, template_faults
from foundry.config.family import Family
from foundry.config.package_specs import RPM, kind_of_url
from foundry.config.patches import Patch

_IN_MAKE = frozenset({"driver", "kernel", "kernel_build", "arch"})


def make_family(name: str, data: Mapping[str, Any], file: str, root: Path) -> tuple[Family, list[Fault]]:
    """A family from its whole description, and what is wrong with it besides its form."""
    whole = _with_parameters(name, data)
    faults = [*_faults(whole, file), *_file_faults(root, whole, file)]
    entries = [*whole.get("patches", []), *whole.get("additional_patches", [])]
    patches = tuple(Patch.from_config(entry) for entry in entries)
    ids = [patch.id for patch in patches]
    faults += [Fault(file, "$.patches", f"two patches have the id {twice!r}")
               for twice in sorted({one for one in ids if ids.count(one) > 1})]
    return Family(name, whole, patches, file), faults


def _with_parameters(name: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """With the family's parameters in its addresses and its base, its name in the names of its labels."""
    facts = {**data.get("parameters", {}), "family": name}
    whole = dict(data)
    for part in ("repository", "download", "signing", "base", "further_packages"):
        if part in whole:
            whole[part] = _filled(whole[part], data.get("parameters", {}))
    whole["labels"] = {fill_known(label, facts): text for label, text in data["labels"].items()}
    return whole


def _filled(value: Any, facts: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return fill_known(value, facts)
    if isinstance(value, Mapping):
        return {name: _filled(one, facts) for name, one in value.items()}
    return [_filled(one, facts) for one in value] if isinstance(value, list) else value


def _faults(family: Mapping[str, Any], file: str) -> Iterator[Fault]:
    variables = family.get("variables", {})
    yield from template_faults(family["labels"], file, variables)
    yield from _variable_faults(variables, file)
    yield from _package_faults(family, file, "$")
    further = family.get("further_packages", {})
    for role, entry in further.items():
        yield from _package_faults({**entry, **_vouching(entry, family)}, file, f"$.further_packages.{role}")
    for number, one in enumerate(family.get("firmware", ())):
        if one.get("package", "") not in ("", *further):
            known = ", ".join(further) or "none"
            yield Fault(file, f"$.firmware[{number}].package", f"no further package {one['package']!r}; known: {known}")
    yield from _source_faults(family, file)
    for number, word in enumerate(family.get("make", {}).get("arguments", ())):
        for field in fields_of(word):
            if field not in _IN_MAKE | set(variables):
                known = ", ".join(sorted(_IN_MAKE | set(variables)))
                yield Fault(file, f"$.make.arguments[{number}]", f"unknown field {{{field}}}; known: {known}")


def _vouching(entry: Mapping[str, Any], family: Mapping[str, Any]) -> dict[str, Any]:
    """A further package is signed as the main one where it says nothing of its own."""
    if "signing" in entry or "signature" in entry:
        return {}
    return {name: family[name] for name in ("signing", "signature") if name in family}


def _package_faults(entry: Mapping[str, Any], file: str, path: str) -> Iterator[Fault]:
    if ("repository" in entry) == ("download" in entry):
        yield Fault(file, path, "it has to say where the package is: `repository` or `download`, one of them")
        return
    if ("signing" in entry) == ("signature" in entry):
        yield Fault(file, path, "it has to say what vouches for the package: `signing`, or `signature: none`")
    if "download" not in entry:
        return
    url = entry["download"]["url"]
    kind = kind_of_url(url)
    if not kind:
        yield Fault(file, f"{path}.download.url", f"{url} ends neither in .rpm nor in .deb nor as a tar does")
    elif kind != RPM:
        if "signing" in entry:
            yield Fault(file, f"{path}.signing", "only RPMs are signed; for others: `signature: none` and `sha256`")
        if "license" not in entry["download"]:
            yield Fault(file, f"{path}.download", "'license' is a required property where no RPM says it")


def _variable_faults(variables: Mapping[str, Any], file: str) -> Iterator[Fault]:
    for name, one in variables.items():
        if name in FIELDS | _IN_MAKE:
            yield Fault(file, f"$.variables.{name}", f"{{{name}}} is a field already: choose another name")
        try:
            groups = re.compile(one["pattern"]).groups
        except (re.error, RecursionError, OverflowError) as error:
            yield Fault(file, f"$.variables.{name}.pattern", f"is no regular expression: {error}")
            continue
        if groups != 1:
            yield Fault(file, f"$.variables.{name}.pattern",
                        f"has {groups} groups; the one group in it is the variable's value")


def _source_faults(family: Mapping[str, Any], file: str) -> Iterator[Fault]:
    dkms = family["source"].get("dkms", False)
    if not dkms and "root" not in family["source"]:
        yield Fault(file, "$.source", "'root' is a required property, unless `dkms: true` lets dkms.conf be looked for")
    if not dkms and "modules" not in family:
        yield Fault(file, "$", "'modules' is a required property, unless `source.dkms` is true")
    names = [one["name"] for one in family.get("modules", ())]
    for number, name in enumerate(family.get("loading_order", ()) if names else ()):
        if name not in names:
            yield Fault(file, f"$.loading_order[{number}]", f"no module {name!r}; known: {', '.join(names)}")


def _file_faults(root: Path, family: Mapping[str, Any], file: str) -> list[Fault]:
    """Files that a family names and that are not there, and names that would overwrite each other in the image."""
    named = [("containerfile", family["containerfile"]), *(("licenses", name) for name in family["licenses"])]
    faults = [
        Fault(file, f"$.{where}", f"{name} does not exist") for where, name in named
        if not os.path.isfile(root / name)  # unlike Path's, it takes names that no file can have
    ]
    modules = [one["file"] for one in family.get("modules", ())]
    for where, names in (("licenses", family["licenses"]), ("modules", modules)):
        last = [Path(name).name for name in names]
        twice = sorted({name for name in last if last.count(name) > 1})
        faults += [Fault(file, f"$.{where}", f"two files are called {name}") for name in twice]
    return faults
