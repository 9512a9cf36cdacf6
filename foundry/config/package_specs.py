"""The packages of a driver: where each is found, what it must be called, and what vouches for it.

A driver has one main package, with its sources, and may have further ones (firmware, say). A
package is in a YUM repository or at an address; it is signed, or its SHA-256 was written down
before it was fetched.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from foundry.base.templates import fill_known
from foundry.config.family import Family

MAIN = ""  # the role of the main package
RPM, DEB, TAR = "rpm", "deb", "tar"
UNSIGNED = "none"
_TARS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tar.zst", ".tzst")


@dataclass(frozen=True)
class PackageSpec:
    """One package of one driver version, as the family file describes it.

    `role` is empty for the main package. `repository` is the YUM repository's address, or empty
    where `url` is the file's own. `version` is what the package must say of itself: its version, or
    version and release joined by ``-``. `sha256` is the file's pinned hash, empty where
    none is; `signing` is None for a package that nobody signed. `path` leads to it in the family file.
    """

    role: str
    kind: str
    repository: str
    url: str
    names: tuple[str, ...]
    arch: str
    version: str
    license: str
    sha256: str
    signing: Mapping[str, Any] | None
    path: str

    @property
    def file(self) -> str:
        """The name of the fetched file in the driver's source folder."""
        return f"package-{self.role}.{self.kind}" if self.role else f"package.{self.kind}"


def kind_of_url(url: str) -> str:
    """The kind of package at an address, by its name; empty for one that can't be read here."""
    name = posixpath.basename(urlsplit(url).path)
    if name.endswith(_TARS):
        return TAR
    return next((kind for kind in (RPM, DEB) if name.endswith(f".{kind}")), "")


def specs_of(family: Family, driver: str, rhel: str = "") -> tuple[PackageSpec, ...]:
    """All packages of a driver, the main one first; `rhel` (``8.6``) fills addresses with a folder for each release."""
    further = family.data.get("further_packages", {})
    facts = {"driver": driver, "family": family.name,
             **({"rhel": rhel, "rhel_major": rhel.partition(".")[0]} if rhel else {})}
    return (
        _spec(family, facts, MAIN, family.data, "$"),
        *(_spec(family, facts, role, entry, f"$.further_packages.{role}") for role, entry in sorted(further.items())),
    )


def _spec(family: Family, facts: Mapping[str, str], role: str, entry: Mapping[str, Any], path: str) -> PackageSpec:
    repository, download = entry.get("repository", {}), entry.get("download", {})
    source = repository or download
    url = fill_known(download.get("url", ""), facts)
    unsigned = entry.get("signature") == UNSIGNED
    signing = None if unsigned else entry.get("signing") or family.data.get("signing")
    names = repository.get("packages") or ([download["name"]] if "name" in download else [])
    return PackageSpec(
        role, RPM if repository else kind_of_url(url), fill_known(repository.get("url", ""), facts), url, tuple(names),
        source.get("arch", "noarch" if repository else ""), fill_known(source.get("version", "{driver}"), facts),
        download.get("license", ""), entry.get("sha256", {}).get(facts["driver"], "").lower(), signing, path,
    )
