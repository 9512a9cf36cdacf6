"""What a vendor offers for an archive: the packages of a repository or of a folder, and the documents around them.

A repository is the one that `foundry.packages.repository` fetches from, read whole: ``repomd.xml``,
its lists, the public key, the release notes. A folder without metadata is asked for the headers
of the packages in it, and then nobody vouches for their checksums.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from foundry.base.errors import FoundryError
from foundry.base.files import canonical_json, sha256_bytes, sha256_file
from foundry.base.reasons import Reason
from foundry.formats.packages import repodata, rpm
from foundry.formats.packages.repodata import Checksum, Location, RepoPackage
from foundry.net import http
from foundry.net.http import Validators
from foundry.packages.gpg import SignatureFacts
from foundry.packages.repository import (
    STALE,
    download_offered,
    join_url,
    require_sound,
    require_strong,
    verify_signature,
)

REPOMD = "repodata/repomd.xml"
_MAX_NOTES = 16 << 20  # bytes
_MAX_KEY = 1 << 20
_MAX_LIST = 256 << 20  # bytes of filelists, as sent
_digest_prefix = re.compile(r"[0-9a-f]{32,128}-")


@dataclass(frozen=True)
class Origin:
    """Where to look: URLs (or empty), which packages, how many seconds a file may take, where it is noted."""

    base_url: str
    key_url: str
    notes_url: str
    packages: Sequence[str]
    arch: str
    seconds: float
    log: Path | None = None

    @property
    def watched(self) -> tuple[str, ...]:
        """The documents that change when anything does."""
        repomd = join_url(self.base_url, REPOMD)
        return (repomd, *([self.notes_url] if self.notes_url else []))


@dataclass(frozen=True)
class Offer:
    """All that is offered. `documents` by the name that they get in the archive; `validators` by URL."""

    packages: tuple[RepoPackage, ...] = field(repr=False)
    documents: Mapping[str, bytes] = field(repr=False)
    revision: str
    listed: bool
    validators: Mapping[str, Validators] = field(default_factory=dict)
    seen: Mapping[str, str] = field(default_factory=dict)  # hex SHA-256 of the watched documents, by URL


@dataclass(frozen=True)
class Obtained:
    """A verified package and its bytes."""

    package: rpm.Package
    data: bytes = field(repr=False)
    signature: SignatureFacts


def unchanged(origin: Origin, validators: Mapping[str, Validators], seen: Mapping[str, str]) -> bool:
    """Whether the watched documents are as they were: one conditional request each."""
    for url in origin.watched:
        if url not in seen:
            return False
        data, _ = http.get_if_changed(url, validators.get(url, Validators()), max_bytes=_MAX_NOTES,
                                      total=origin.seconds, log=origin.log)
        if data is not None and sha256_bytes(data) != seen[url]:
            return False
    return True


def read_repository(origin: Origin, notes_name: str) -> Offer:
    """What a repository offers. Raises what `foundry.packages.repository.list_packages` raises."""
    try:
        return _repository(origin, notes_name)
    except FoundryError as error:
        if error.reason not in STALE:
            raise
    return _repository(origin, notes_name)  # it may have been published anew between two requests


def _repository(origin: Origin, notes_name: str) -> Offer:
    validators, seen, documents = {}, {}, {}
    for url, name in zip(origin.watched, ("repomd.xml", notes_name), strict=False):
        most = repodata.MAX_REPOMD if name == "repomd.xml" else _MAX_NOTES
        data, validators[url] = http.get_if_changed(url, Validators(), max_bytes=most, total=origin.seconds,
                                                    log=origin.log)
        documents[name] = data or b""
        seen[url] = sha256_bytes(documents[name])
    repomd = repodata.parse_repomd(documents["repomd.xml"], repodata.LISTS, origin.base_url)
    for kind, location in repomd.lists.items():
        documents[kind + _suffix(location.href)] = _list(origin, location)
    primary = documents["primary" + _suffix(repomd.primary.href)]
    return Offer(
        _ours(origin, repodata.parse_primary(repodata.open_primary(primary, repomd.primary), origin.base_url)),
        documents | _key(origin), repomd.revision, True, validators, seen,
    )


def folder_state(origin: Origin) -> str:
    """One hash over names, sizes and times of the packages in a folder, and over the notes: no package is read."""
    root = _folder(origin)
    facts = [[str(path.relative_to(root)), path.stat().st_size, path.stat().st_mtime_ns] for path in _rpms(root)]
    return sha256_bytes(canonical_json([facts, sha256_bytes(_notes(origin))]))


def read_folder(origin: Origin, notes_name: str) -> Offer:
    """What a folder of packages offers; those of other names are left out."""
    root, found = _folder(origin), []
    for path in _rpms(root):
        package = rpm.read_package(path)
        found.append(RepoPackage(
            package.name, package.epoch or 0, package.version, package.release, package.arch,
            path.relative_to(root).as_posix(), Checksum("sha256", sha256_file(path)), path.stat().st_size,
            package.build_time,
        ))
    documents = {notes_name: _notes(origin)} if origin.notes_url else {}
    return Offer(_ours(origin, found), documents | _key(origin), "", False)


def obtain(origin: Origin, offered: RepoPackage, key_file: Path, fingerprint: str, file: Path) -> Obtained:
    """Have the package at `file`, verified: its checksum, its signature, and that it is what it was offered as.

    Raises FoundryError as `foundry.packages.repository.fetch_package`; a reason in `STALE` may mean that the
    repository was changed since it was read.
    """
    download_offered(origin.base_url, offered, file, origin.log, origin.seconds)
    data = rpm.read_bytes(file)
    package = rpm.parse_package(data)
    signature = verify_signature(data, package, key_file, fingerprint, log=origin.log)
    said = (offered.name, offered.epoch, offered.version, offered.release, offered.arch)
    if said != (package.name, package.epoch or 0, package.version, package.release, package.arch):
        raise FoundryError(
            f"{offered.href} was offered as {offered.name}-{offered.version}-{offered.release}.{offered.arch}"
            f" but is {package.nevra}", reason=Reason.PACKAGE_MISLABELLED,
            hint="the repository is wrong: don't use the file, tell the vendor",
        )
    return Obtained(package, data, signature)


def _ours(origin: Origin, packages: Sequence[RepoPackage]) -> tuple[RepoPackage, ...]:
    wanted = [one for one in packages if one.name in origin.packages and one.arch == origin.arch]
    for one in wanted:
        require_sound(one)
    return tuple(dict.fromkeys(wanted))


def _list(origin: Origin, location: Location) -> bytes:
    url = join_url(origin.base_url, location.href)
    require_strong(location.checksum.weak, location.href)
    data = http.get(url, max_bytes=min(location.size or _MAX_LIST, _MAX_LIST), total=origin.seconds, log=origin.log)
    if not location.checksum.fits(data) or location.size not in (None, len(data)):
        raise FoundryError(f"{http.shown(url)} is not what repomd.xml says",
                           reason=Reason.DIGEST_MISMATCH, log=origin.log,
                           hint="the repository is being changed, or damaged: try again later")
    return data


def _key(origin: Origin) -> dict[str, bytes]:
    data = http.get(origin.key_url, max_bytes=_MAX_KEY, total=origin.seconds, log=origin.log)
    return {"key.gpg" if data[:1] >= b"\x80" else "key.asc": data}


def _notes(origin: Origin) -> bytes:
    if not origin.notes_url:
        return b""
    return http.get(origin.notes_url, max_bytes=_MAX_NOTES, total=origin.seconds, log=origin.log)


def _suffix(href: str) -> str:
    """``.xml.gz`` of ``repodata/<digest>-primary.xml.gz``."""
    name = _digest_prefix.sub("", href.rpartition("/")[2])
    suffix = name[name.find("."):] if "." in name else ""
    return suffix if re.fullmatch(r"(\.[A-Za-z0-9]+){1,3}", suffix) else ".xml"


def _folder(origin: Origin) -> Path:
    return Path(unquote(origin.base_url.removeprefix("file://")))


def _rpms(root: Path) -> list[Path]:
    if not root.is_dir():
        raise FoundryError(f"{root} is no folder of packages", reason=Reason.ARCHIVE_SOURCE,
                           hint="correct `archive.from` in the family's file")
    return sorted(path for path in root.rglob("*.rpm") if path.is_file() and not path.name.startswith("."))
