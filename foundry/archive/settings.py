"""What an archive is made from and where it is: the section `archive` of a family, with everything filled in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from foundry.base.errors import ConfigError, Fault
from foundry.base.files import canonical_json, read_file, sha256_bytes
from foundry.config.family import Family
from foundry.packages.signing import pinned_fingerprint
from foundry.run.context import Foundry

REMOTE_VARIABLE = "KMOD_ARCHIVE_REMOTE"
FORMAT = 2  # of what is written; another one makes other archives
_WORDS, _GENERATED = "CC0-1.0", "MIT-0"  # licences of the archive's own texts, of files that a program wrote
_TEXTS = "container/licenses"  # texts by SPDX identifiers, where the family's file names none


@dataclass(frozen=True)
class Settings:
    """One family's archive: where it is, whose it is, what goes into it. URLs are where the profile has them."""

    family: Family
    place: Path
    shared: bool  # the place is the user's, not one below build/
    remote: str
    branch: str
    name: str
    email: str
    base_url: str
    key_url: str
    fingerprint: str
    notes_url: str
    notes_suffix: str
    packages: tuple[str, ...]
    arch: str
    exclude: tuple[str, ...]
    with_release: bool
    seconds: float
    texts: Mapping[str, bytes]
    annotations: tuple[tuple[tuple[str, ...], str, str], ...]

    @property
    def ref(self) -> str:
        """The branch's full name."""
        return f"refs/heads/{self.branch}"

    @property
    def keeper(self) -> str:
        """``Name <email>``."""
        return f"{self.name} <{self.email}>"

    @property
    def is_folder(self) -> bool:
        """Whether packages come from a folder without repository metadata."""
        base = Path(self.base_url.removeprefix("file://"))
        return self.base_url.startswith("file://") and not (base / "repodata/repomd.xml").exists()

    @cached_property
    def furniture(self) -> dict[str, bytes]:
        """The files of every commit that say how and under which terms the others may be used."""
        from foundry.archive.form import reuse_toml

        return {
            ".gitattributes": b"* -text\n",
            "REUSE.toml": reuse_toml(self.annotations),
            **{f"LICENSES/{name}.txt": text for name, text in self.texts.items()},
        }

    @cached_property
    def digest(self) -> str:
        """One hash over all that decides what an archive holds and where it is kept."""
        facts = [
            FORMAT, self.remote, self.branch, self.keeper, self.family["repository"], self.family["archive"],
            self.family["signing"], self.fingerprint, {name: sha256_bytes(text) for name, text in self.texts.items()},
        ]
        return sha256_bytes(canonical_json(facts))


def families(foundry: Foundry) -> list[Family]:
    """The families that have an archive, by name."""
    return [family for _, family in sorted(foundry.config.families.items()) if "archive" in family.data]


def place_of(foundry: Foundry, family: Family) -> Path:
    """Where the family's archive is on this machine."""
    path = str(family["archive"].get("path", "")).replace("{family}", family.name)
    if path:
        return foundry.root.absolute() / path
    return foundry.root.absolute() / foundry.config.build / "archive" / f"{family.name}.git"


def branch_of(family: Family) -> str:
    """The archive's branch."""
    return str(family["archive"].get("branch", "main"))


def pinned(foundry: Foundry, family: Family) -> str:
    """The full fingerprint of the key that signs the family's packages."""
    return pinned_fingerprint(foundry.root, family["signing"], family.file)


def settings_of(foundry: Foundry, family: Family) -> Settings:
    """The family's settings; ConfigError where a file that they name can't be read or no key is pinned."""
    section: Mapping[str, Any] = family["archive"]
    notes = section.get("release_notes", {})
    _require_signed_repository(family)
    remote = (os.environ.get(REMOTE_VARIABLE) or section.get("remote", "")).replace("{family}", family.name)
    repository = family["repository"]
    return Settings(
        family=family, place=place_of(foundry, family), shared=bool(section.get("path")), remote=remote,
        branch=branch_of(family), name=section["author"]["name"], email=section["author"]["email"],
        base_url=_base(foundry, section.get("from") or repository["url"]),
        key_url=foundry.addresses.resolve(family["signing"]["key_url"]), fingerprint=pinned(foundry, family),
        notes_url=foundry.addresses.resolve(notes["url"]) if notes else "",
        notes_suffix=_suffix(notes["url"]) if notes else "",
        packages=tuple(repository["packages"]), arch=repository.get("arch", "noarch"),
        exclude=tuple(section.get("exclude", ())), with_release=section.get("tags") == "version-release",
        seconds=foundry.settings.network_timeout,
        texts=_texts(foundry, family), annotations=_annotations(section, notes),
    )


def _require_signed_repository(family: Family) -> None:
    """Archived is what a repository has, under one address, signed."""
    url = family.data.get("repository", {}).get("url", "")
    if "signing" in family.data and family.data.get("signature") is None and url and "{" not in url:
        return
    fault = Fault(family.file, "$.archive", "only signed packages of one YUM repository can be archived")
    raise ConfigError([fault], hint="remove `archive` from the family's file")


def _base(foundry: Foundry, place: str) -> str:
    """A URL; a folder is given relative to the checkout, too."""
    if "://" not in place:
        return (foundry.root.absolute() / place).as_uri()
    return foundry.addresses.resolve(place)


def _suffix(url: str) -> str:
    suffix = Path(url.partition("?")[0]).suffix
    return suffix if suffix.isascii() and suffix[1:].isalnum() else ".txt"


def _annotations(section: Mapping[str, Any], notes: Mapping[str, Any]) -> tuple[tuple[tuple[str, ...], str, str], ...]:
    from foundry.archive.form import NOTES, RPMS

    ours, generated = ("README.md", ".gitattributes", "REUSE.toml"), ("archive/**",)
    theirs = ("src/**", "payload/**", f"{RPMS}**")
    groups = [(ours, "NONE", _WORDS), (generated, "NONE", _GENERATED),
              (theirs, section["copyright"], section["license"])]
    if notes:
        groups.append(((f"archive/{NOTES}{_suffix(notes['url'])}",), notes.get("copyright", section["copyright"]),
                       notes["license"]))
    return tuple(groups)


def _texts(foundry: Foundry, family: Family) -> dict[str, bytes]:
    """The licence texts by SPDX identifier, of all that the annotations name."""
    section = family["archive"]
    notes = [section["release_notes"]["license"]] if "release_notes" in section else []
    file, found, faults = family.file, {}, []
    for name in sorted({_WORDS, _GENERATED, section["license"], *notes}):
        path = section["license_texts"].get(name, "")
        try:
            found[name] = read_file(foundry.root / (path or f"{_TEXTS}/{name}.txt"))
        except OSError as error:
            what = f"{path}: {error.strerror}" if path else f"has no text of {name}"
            faults.append(Fault(file, "$.archive.license_texts", what))
    if faults:
        raise ConfigError(faults)
    return found
