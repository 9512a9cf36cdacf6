"""The labels of an image: templates in the configuration, facts from the lock.

A label must be true, and none may be empty: a template with an unknown field
is a fault of the configuration, an empty value an error before anything is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.base.templates import fill
from foundry.base.times import utc
from foundry.config.locks import Base, BusyBox, MainPackage
from foundry.plan.cells import Cell


def created(package: MainPackage, base: Base) -> int:
    """The build time of the newest input, in seconds since 1970: never now. FoundryError (``lock-unreadable``)."""
    try:
        base_time = int(datetime.fromisoformat(base.created).timestamp())
    except (ValueError, OverflowError) as error:
        raise FoundryError(
            f"the base in the lock was created at {base.created}, a time that there is not",
            reason=Reason.LOCK_UNREADABLE,
        ) from error
    return max(package.build_time, base_time)


def make_labels(
    cell: Cell, package: MainPackage, base: Base, source_url: str
) -> dict[str, str]:
    """Every label but the key's. FoundryError (``label-empty``) when one would be empty; what `created` raises."""
    busybox = base.busybox or BusyBox("", "")
    facts = {
        **package.variables, "title": cell.family["title"],
        "driver": cell.driver, "kernel": cell.kernel, "arch": cell.arch, "tag": cell.tag, "family": cell.family.name,
        "created": utc(created(package, base)),
        "source_url": source_url,
        "base_name": base.name, "base_digest": base.digest,
        "busybox_version": busybox.version, "busybox_source": busybox.source,
        "busybox_source_backup": busybox.source_backup or busybox.source,
        "package_name": package.name, "package_url": package.url, "package_license": package.license,
    }
    more = cell.family["base"].get("busybox", {}).get("labels", {}) if base.busybox is not None else {}
    templates: Mapping[str, str] = {**more, **cell.family["labels"]}
    labels = {
        name: fill(template, facts) for name, template in templates.items()
    }
    for name, value in labels.items():
        if not value.strip():
            raise FoundryError(
                f"the label {name} of driver {cell.driver} would be empty: the lock lacks what it shows",
                reason=Reason.LABEL_EMPTY,
            )
    return labels
