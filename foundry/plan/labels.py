"""The labels of an image: templates in the configuration, facts from the lock.

A label must be true, and none may be empty: a template with an unknown field
is a fault of the configuration, an empty value an error before anything is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.base.templates import fields_of, fill
from foundry.base.times import utc
from foundry.config.family import Family
from foundry.config.locks import Base, BusyBox, MainPackage
from foundry.plan.cells import Cell

_OF_CELLS = {"kernel", "arch", "tag"}  # the fields that differ between a driver's cells


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


class DriverLabels:
    """Every label but the key's, of one driver's images; what its cells share is filled in once."""

    def __init__(
        self, family: Family, driver: str, package: MainPackage, base: Base, source_url: str, tarball_url: str = "",
    ) -> None:
        """`tarball_url`: where the driver's release has its source; empty: no release. Raises what `created` raises."""
        busybox = base.busybox or BusyBox("", "")
        self._driver = driver
        self._facts: Mapping[str, str] = {
            **package.variables, "title": family["title"], "driver": driver, "family": family.name,
            "created": utc(created(package, base)),
            "source_url": source_url,
            "base_name": base.name, "base_digest": base.digest,
            "busybox_version": busybox.version, "busybox_source": busybox.source,
            "busybox_source_backup": busybox.source_backup or busybox.source,
            "package_name": package.name, "package_url": package.url, "driver_source": tarball_url or package.url,
            "package_license": family.license_of(package.license),
        }
        more = family["base"].get("busybox", {}).get("labels", {}) if base.busybox is not None else {}
        templates: Mapping[str, str] = {**more, **family["labels"]}
        self._open = {name: text for name, text in templates.items() if not _OF_CELLS.isdisjoint(fields_of(text))}
        self._labels = {
            name: text if name in self._open else fill(text, self._facts) for name, text in templates.items()
        }

    def of(self, cell: Cell) -> dict[str, str]:
        """The labels of a cell's image. FoundryError (``label-empty``) when one would be empty."""
        facts = {**self._facts, "kernel": cell.kernel, "arch": cell.arch, "tag": cell.tag}
        labels = self._labels | {name: fill(text, facts) for name, text in self._open.items()}
        for name, value in labels.items():
            if not value.strip():
                raise FoundryError(
                    f"the label {name} of driver {self._driver} would be empty: the lock lacks what it shows",
                    reason=Reason.LABEL_EMPTY,
                )
        return labels
