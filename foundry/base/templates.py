"""Label templates: texts with fields in braces, ``AWS Neuron driver {driver}``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from foundry.base.errors import Fault

_FIELD = re.compile(r"\{([a-z][a-z0-9_]*|)\}")
_NAMED = re.compile(r"\{([a-z][a-z0-9_]*)\}")
FIELDS = frozenset({
    "driver", "kernel", "arch", "tag", "family", "title", "created", "source_url", "base_name", "base_digest",
    "busybox_version", "busybox_source", "busybox_source_backup", "package_name", "package_url", "package_license",
    "driver_source",
})


def template_faults(labels: Mapping[str, str], file: str, variables: Iterable[str] = ()) -> list[Fault]:
    """The label templates that name a field which does not exist; `variables` are the family's own."""
    fields = FIELDS | frozenset(variables)
    known = ", ".join(sorted(fields))
    return [
        Fault(file, f"$.labels[{name!r}]", f"unknown field {{{field}}}; known: {known}")
        for name, template in labels.items()
        for field in _FIELD.findall(template) if field not in fields
    ]


def fill(template: str, facts: Mapping[str, str]) -> str:
    """The template with each field replaced by its fact."""
    return _FIELD.sub(lambda match: facts[match.group(1)], template)


def fill_known(template: str, facts: Mapping[str, str]) -> str:
    """The template with the fields that are known replaced; what else is in braces stays."""
    return _NAMED.sub(lambda match: facts.get(match.group(1), match.group()), template)


def fields_of(template: str) -> list[str]:
    """The names of the fields in a template."""
    return _NAMED.findall(template)
