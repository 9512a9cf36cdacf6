"""Label templates: texts with fields in braces, ``AWS Neuron driver {driver}``."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tasks.core.errors import Fault

_FIELD = re.compile(r"\{([a-z_]*)\}")
FIELDS = frozenset({
    "driver", "kernel", "arch", "tag", "family", "created", "source_url", "base_name", "base_digest",
    "busybox_version", "busybox_source", "busybox_source_backup", "package_name", "package_url", "package_license",
})


def template_faults(labels: Mapping[str, str], file: str) -> list[Fault]:
    """The label templates that name a field which does not exist."""
    known = ", ".join(sorted(FIELDS))
    return [
        Fault(file, f"$.labels[{name!r}]", f"unknown field {{{field}}}; known: {known}")
        for name, template in labels.items()
        for field in _FIELD.findall(template) if field not in FIELDS
    ]


def fill(template: str, facts: Mapping[str, str]) -> str:
    """The template with each field replaced by its fact."""
    return _FIELD.sub(lambda match: facts[match.group(1)], template)
