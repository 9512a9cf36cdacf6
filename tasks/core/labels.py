"""The labels of an image: templates in the configuration, facts from the lock.

A label must be true, and none may be empty: a template with an unknown field
is a fault of the configuration, an empty value an error before anything is built.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tasks.core.errors import Fault, FoundryError

if TYPE_CHECKING:
    from tasks.core.cells import Cell

KEY_LABEL = "kmod-foundry.key"

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


def created(package: Mapping[str, Any], base: Mapping[str, Any]) -> int:
    """The build time of the newest input, in seconds since 1970: never now."""
    base_time = int(datetime.fromisoformat(base["created"]).timestamp())
    return max(int(package["build_time"]), base_time)


def make_labels(
    cell: Cell, package: Mapping[str, Any], base: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, str]:
    """Every label but the key's. FoundryError (``label-empty``) when one would be empty."""
    busybox = base.get("busybox", {})
    facts = {
        "driver": cell.driver, "kernel": cell.kernel, "arch": cell.arch, "tag": cell.tag, "family": cell.family.name,
        "created": datetime.fromtimestamp(created(package, base), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "source_url": settings["source_url"],
        "base_name": base["name"], "base_digest": base["digest"],
        "busybox_version": busybox.get("version", ""), "busybox_source": busybox.get("source", ""),
        "busybox_source_backup": busybox.get("source_backup", "") or busybox.get("source", ""),
        "package_name": package["name"], "package_url": package["url"], "package_license": package["license"],
    }
    templates: Mapping[str, str] = cell.family["labels"]
    labels = {
        name: _FIELD.sub(lambda match: str(facts[match.group(1)]), template) for name, template in templates.items()
    }
    for name, value in labels.items():
        if not value.strip():
            raise FoundryError(
                f"the label {name} of driver {cell.driver} would be empty: the lock lacks what it shows",
                reason="label-empty",
            )
    return labels
