"""Driver packages: from a repository's address to one verified RPM.

The chain: ``repomd.xml`` gives the digest of the primary list, that gives the
digest of the file, the file's signature is the vendor's, the header says the
version that was asked for, and the content is the one that is locked. Vendors
re-sign, so the digest of a whole file may differ from one month to the next
while the content does not.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from foundry.base.errors import FoundryError
from foundry.base.files import open_file, scratch, sha256_bytes
from foundry.base.reasons import Reason
from foundry.formats.packages import repodata, rpm
from foundry.formats.packages.repodata import Checksum, RepoPackage
from foundry.formats.packages.rpm import Package
from foundry.net import http
from foundry.packages import gpg
from foundry.packages.gpg import SignatureFacts

if TYPE_CHECKING:
    from _typeshed import SupportsRead

_SHOWN_VERSIONS = 5
STALE = (Reason.DIGEST_MISMATCH, Reason.HTTP_404,
         Reason.FILE_MISSING)  # what a repository that changes under a reader looks like


@dataclass(frozen=True)
class FetchedPackage:
    """A package file: its header, where it came from, hex SHA-256 and bytes of the file, who signed it.

    `signature` is None where the family file says that nobody signs it.
    """

    package: Package
    href: str
    url: str
    file_sha256: str
    size: int
    signature: SignatureFacts | None


def list_packages(
    base_url: str, *, log: Path | None = None, seconds: float = http.TOTAL_SECONDS
) -> tuple[RepoPackage, ...]:
    """All packages of the repository at `base_url` (the folder that holds ``repodata/``).

    Each of its files may take `seconds`.

    Raises FoundryError ``repodata-malformed``, ``repodata-unsupported``, ``repodata-too-large``,
    ``digest-mismatch`` and what `foundry.net.http.get` raises.
    """
    try:
        return _list(base_url, log, seconds)
    except FoundryError as error:
        if error.reason not in STALE:
            raise
    return _list(base_url, log, seconds)  # it may have been published anew between the two requests


def fetch_package(
    base_url: str,
    *,
    package_names: Sequence[str],
    version: str,
    arch: str = "noarch",
    key_file: Path | None,
    fingerprint: str,
    dest: Path,
    locked_content_sha256: str | None,
    pinned_sha256: str = "",
    log: Path | None = None,
    listed: tuple[RepoPackage, ...] | None = None,
    seconds: float = http.TOTAL_SECONDS,
) -> FetchedPackage:
    """Fetch one version of a driver's package to `dest`, which appears only once everything is verified.

    `package_names` are the names that the driver has had. `listed`, of `list_packages`, saves asking
    again; where it turns out stale, the repository is asked again. Each file may
    take `seconds`. Without `key_file` no signature is looked for: then the caller must know the file's
    SHA-256, `pinned_sha256`, or its content's beforehand.

    Raises FoundryError ``driver-unknown``, ``driver-ambiguous``, ``checksum-weak``, ``digest-mismatch``,
    ``rpm-damaged``, ``package-mislabelled``, ``lock-mismatch``, the ``signature-*`` of
    `foundry.packages.gpg.verify`, and what `list_packages` raises.
    """
    with scratch(dest.parent, dest.name) as folder:
        file = folder / "package.rpm"
        offered, url = download_version(base_url, package_names, version, arch, file, log, listed, seconds,
                                        known=bool(pinned_sha256 or locked_content_sha256))
        data = rpm.read_bytes(file)
        digest = sha256_bytes(data)
        check_pin(offered.href, digest, pinned_sha256)
        check_lock(offered.href, rpm.content_sha256(data), locked_content_sha256, version)
        package = rpm.parse_package(data)
        signature = verify_signature(data, package, key_file, fingerprint, log=log) if key_file else None
        check_label(package, package_names, version, arch, offered.href)
        os.replace(file, dest)
    return FetchedPackage(package, offered.href, url, digest, len(data), signature)


def verify_signature(
    data: bytes, package: Package, key_file: Path, fingerprint: str, *, log: Path | None = None, later: bool = False
) -> SignatureFacts:
    """Check the vendor's signature over header and payload of the RPM file `data`.

    A signature over both is preferred. One over the header alone, all that rpm has made
    by default since 4.14, is enough where the header holds the payload's SHA-256, which
    reading the package has compared. Raises what `foundry.packages.gpg.verify` raises.
    """
    start, end = package.header_range
    if package.signature:
        return gpg.verify(data[start:], package.signature, key_file, fingerprint, log=log, later=later)
    if package.header_signature and package.payload_sha256:
        return gpg.verify(data[start:end], package.header_signature, key_file, fingerprint, log=log, later=later)
    why = "only its header is signed, not its payload" if package.header_signature else "it has no signature"
    raise FoundryError(
        f"the package {package.nevra} can't be trusted: {why}", reason=Reason.SIGNATURE_MISSING,
        hint="use a repository whose packages are signed",
    )


def rpm_version_key(version: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts versions as rpm does: numbers by value and above letters, ``~`` below the end of the version.

    `sorted` needs the end as a part of its own, hence the last element.
    """
    parts = re.findall(r"~|\^|[0-9]+|[A-Za-z]+", version)
    return (*(_part(part) for part in parts), (1, 0, ""))


def _part(part: str) -> tuple[int, int, str]:
    if part == "~":
        return (0, 0, "")
    if part == "^":
        return (2, 0, "")
    return (4, int(part), "") if part.isdigit() else (3, 0, part)


def _list(base_url: str, log: Path | None, seconds: float) -> tuple[RepoPackage, ...]:
    raw = http.get(join_url(base_url, "repodata/repomd.xml"), max_bytes=repodata.MAX_REPOMD, total=seconds, log=log)
    primary = repodata.parse_repomd(raw, root=base_url).primary
    url = join_url(base_url, primary.href)
    limit = min(primary.size or repodata.MAX_PRIMARY, repodata.MAX_PRIMARY)
    sent = http.get(url, max_bytes=limit, total=seconds, log=log)
    _expect(_Read(io.BytesIO(sent), primary.checksum).rest(), primary.checksum, primary.size, url, log)
    opened = _Read(repodata.open_primary(sent, primary), primary.open_checksum or primary.checksum)
    found = repodata.parse_primary(opened, base_url)
    _expect(opened, primary.open_checksum, primary.open_size, f"{url}, decompressed,", log)
    weak = primary.checksum.weak
    return tuple(replace(one, weak=one.weak or weak) for one in found) if weak else found


class _Read:
    """A stream that knows size and digest of what was read from it, the digest being of the kind of a checksum."""

    def __init__(self, stream: SupportsRead[bytes], checksum: Checksum) -> None:
        self.stream, self.size, self.digest = stream, 0, checksum.begin()

    def read(self, size: int = -1) -> bytes:
        """The stream's own."""
        data = self.stream.read(size)
        self.size += len(data)
        self.digest.update(data)
        return data

    def rest(self) -> _Read:
        """Itself, read to its end."""
        self.read()
        return self


def _expect(read: _Read, checksum: Checksum | None, size: int | None, what: str, log: Path | None) -> None:
    if (size not in (None, read.size)) or (checksum is not None and read.digest.hexdigest() != checksum.digest):
        raise FoundryError(
            f"{http.shown(what)} is not what repomd.xml says", reason=Reason.DIGEST_MISMATCH, log=log,
            hint="the repository is being changed, or damaged: try again later",
        )


def download_version(
    base_url: str, names: Sequence[str], version: str, arch: str, file: Path, log: Path | None,
    listed: tuple[RepoPackage, ...] | None, seconds: float, *, known: bool,
) -> tuple[RepoPackage, str]:
    """Download the file that the repository offers for a version; asks anew once when a given list is stale.

    Its checksum is that in the repository's list, and nothing is read in it. `known` says that the caller has a
    SHA-256 to compare, or believes nothing of the file. Raises as `fetch_package` does.
    """
    found = list_packages(base_url, log=log, seconds=seconds) if listed is None else listed
    offered = _choose(found, names, version, arch)
    try:
        return offered, download_offered(base_url, offered, file, log, seconds, known=known)
    except FoundryError as error:
        if listed is None or error.reason not in STALE:
            raise
    offered = _choose(list_packages(base_url, log=log, seconds=seconds), names, version, arch)
    return offered, download_offered(base_url, offered, file, log, seconds, known=known)


def download_offered(
    base_url: str, offered: RepoPackage, file: Path, log: Path | None, seconds: float, *, known: bool = False
) -> str:
    """Have the bytes that a repository's list promises at `file`; the URL as it may be shown.

    Raises FoundryError ``checksum-weak``, ``digest-mismatch``, ``rpm-too-large``, and what
    `foundry.net.http.download` raises.
    """
    url = join_url(base_url, offered.href)
    if not known:
        require_strong(offered.weak, offered.href)
    if offered.size > rpm.MAX_FILE:
        raise FoundryError(f"{http.shown(url)} has {offered.size} bytes", reason=Reason.RPM_TOO_LARGE)
    size = http.download(url, file, sha256=None, max_bytes=offered.size, total=seconds, log=log)
    with open_file(file) as stream:
        digest = hashlib.file_digest(stream, offered.checksum.begin).hexdigest()
    if (size, digest) != (offered.size, offered.checksum.digest):
        file.unlink()
        raise FoundryError(
            f"{http.shown(url)} has {size} bytes and the {offered.checksum.kind} {digest}, not {offered.size} bytes and"
            f" {offered.checksum.digest}", reason=Reason.DIGEST_MISMATCH, log=log,
            hint="the server's file changed or was damaged on the way",
        )
    return http.shown(url)


def require_strong(weak: str, what: str) -> None:
    """FoundryError ``checksum-weak`` where a checksum is of a kind that proves nothing (`RepoPackage.weak`)."""
    if weak:
        raise FoundryError(
            f"the repository vouches for {what} by a checksum of the kind {weak}, which can be forged",
            reason=Reason.CHECKSUM_WEAK,
            hint="compare the file's SHA-256 with what the vendor says, and pin it in the family file (`sha256`)",
        )


def _choose(listed: Sequence[RepoPackage], names: Sequence[str], version: str, arch: str) -> RepoPackage:
    mine = [package for package in listed if package.name in names and package.arch == arch]
    found = list(dict.fromkeys(package for package in mine if is_version(package, version)))
    found = [package for package in found if not package.fault] or found[:1]
    if len(found) == 1:
        require_sound(found[0])
        return found[0]
    if found:
        raise FoundryError(
            f"the repository has {len(found)} packages of version {version}: "
            + ", ".join(sorted(package.href for package in found)),
            reason=Reason.DRIVER_AMBIGUOUS, hint="ask the vendor which one is meant",
        )
    versions = sorted({package.version for package in mine}, key=rpm_version_key, reverse=True)
    newest = ", ".join(versions[:_SHOWN_VERSIONS])
    more = f" and {len(versions) - _SHOWN_VERSIONS} older ones" if len(versions) > _SHOWN_VERSIONS else ""
    raise FoundryError(
        f"the repository has no {' or '.join(names)} {version} for {arch}", reason=Reason.DRIVER_UNKNOWN,
        hint=f"it has {newest}{more}" if versions else "it has no version of it at all: check name and address",
    )


def require_sound(package: RepoPackage) -> None:
    """FoundryError ``repodata-malformed`` where the repository's list makes no sense of a package."""
    if package.fault:
        raise repodata.malformed(f"the repository's {package.name} {package.version}-{package.release} for"
                                 f" {package.arch} can't be had: {package.fault}")


def is_version(package: RepoPackage | Package, version: str) -> bool:
    """Whether `version` is the package's version, or its version and release joined by ``-``."""
    return version in (package.version, f"{package.version}-{package.release}")


def check_label(package: Package, names: Sequence[str], version: str, arch: str, href: str) -> None:
    """FoundryError ``package-mislabelled`` where an RPM is not the one asked for; empty `names`, `arch`: any."""
    if (names and package.name not in names) or not is_version(package, version) or arch not in ("", package.arch):
        wanted = f"{' or '.join(names)} {version}".strip()
        raise FoundryError(
            f"{href} was offered as {wanted} ({arch or 'any'}) but is {package.nevra}",
            reason=Reason.PACKAGE_MISLABELLED, hint="the repository is wrong: don't use the file, tell the vendor",
        )


def check_pin(what: str, sha256: str, pinned: str) -> None:
    """FoundryError ``pin-mismatch`` where a file is not the pinned one; an empty pin fits all."""
    if pinned and sha256 != pinned:
        raise FoundryError(
            f"{what} has the SHA-256 {sha256}, pinned in the family file is {pinned}", reason=Reason.PIN_MISMATCH,
            hint="don't use the file; if the vendor published it anew, check it and change `sha256` in the family file",
        )


def check_lock(what: str, content: str, locked: str | None, version: str) -> None:
    """FoundryError ``lock-mismatch`` where a package's content is not the locked one."""
    if locked is not None and content != locked.lower():
        raise FoundryError(
            f"the content of {what} changed: it is {content}, locked is {locked}",
            reason=Reason.LOCK_MISMATCH,
            hint=f"to accept the new content, remove version {version} from the family's lock file"
            " (`locks` in config/) and build again",
        )


def join_url(base_url: str, href: str) -> str:
    """The address of a file of the repository at `base_url`."""
    return f"{base_url.rstrip('/')}/{quote(href, safe='/%+~^:@!$&()*,;=')}"
