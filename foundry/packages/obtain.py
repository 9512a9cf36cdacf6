"""One package of a driver, as its family file describes it, to a verified file: RPM, Debian package or tar."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from foundry.base.errors import FoundryError, from_os
from foundry.base.files import read_file, scratch, sha256_file
from foundry.base.reasons import Reason
from foundry.config.package_specs import DEB, RPM, TAR, PackageSpec
from foundry.formats.packages import deb, rpm, rpmpayload
from foundry.formats.trees import sourcetree
from foundry.net import http
from foundry.packages import apt
from foundry.packages.repository import (
    check_label,
    check_lock,
    check_pin,
    download_version,
    fetch_package,
    verify_signature,
)

if TYPE_CHECKING:
    from foundry.formats.packages.repodata import RepoPackage
    from foundry.packages.gpg import SignatureFacts

MAX_FILE = 512 << 20  # bytes


@dataclass(frozen=True)
class Trust:
    """What a package must prove: the key that signed it (none: it is not signed), or a hash that is known already."""

    key_file: Path | None
    fingerprint: str
    locked_content_sha256: str | None


@dataclass(frozen=True)
class Obtained:
    """A verified package: what it says of itself, where it came from, its hashes (hex SHA-256), and who signed it.

    `content_sha256` is that of the whole file, of an RPM that of all but the signature header.
    `known` says that something vouched for it: a signature, or a hash that was known before.
    """

    spec: PackageSpec
    name: str
    version: str
    license: str
    build_time: int
    href: str
    url: str
    content_sha256: str
    file_sha256: str
    signature: SignatureFacts | None
    known: bool
    scripts: Mapping[str, str] = field(repr=False, hash=False)


def obtain(
    spec: PackageSpec, dest: Path, trust: Trust, *, address: str, listed: tuple[RepoPackage, ...] | None, log: Path,
    seconds: float,
) -> Obtained:
    """Fetch a package to `dest`, which appears only once everything that can be checked is.

    `address` is the spec's repository or URL where it is really served; `listed` are the repository's
    packages, where they were read already. Every hash that is known is compared before anything is read in the package.
    What nothing vouches for is fetched for its hash, and not kept: `Obtained.known` is then False.

    Raises FoundryError as `foundry.packages.repository.fetch_package` does, ``deb-*``, ``tar-*``,
    ``package-mislabelled``, ``pin-mismatch``.
    """
    if spec.repository:
        return _from_repository(spec, dest, trust, address, listed, log, seconds)
    with scratch(dest.parent, dest.name) as folder:
        file = folder / spec.file
        if address.startswith(apt.SCHEME):
            spec = replace(spec, url=apt.download(address, file, log))
        else:
            http.download(address, file, sha256=None, max_bytes=MAX_FILE, total=seconds, log=log)
        digest = sha256_file(file)
        check_pin(spec.url, digest, spec.sha256)
        if trust.locked_content_sha256 is not None:
            check_lock(spec.url, content_sha256(spec, file), trust.locked_content_sha256, spec.version)
        if not _known(spec, trust):
            return _unread(spec, _href(spec), digest)
        found = _READERS[spec.kind](spec, file, digest, trust, log)
        os.replace(file, dest)
    return found


def unpack(spec: PackageSpec, file: Path, root: Path) -> list[str]:
    """Write a package's payload below the new folder `root`; the paths written. Raises as the formats do."""
    if spec.kind == RPM:
        return [str(path.relative_to(root)) for path in rpmpayload.unpack(file, rpm.read_package(file), root)]
    data = read_file(file)
    try:
        if spec.kind == DEB:
            return deb.unpack_deb(deb.parse_deb(data), root)
        return sourcetree.unpack_tar(data, root, what=f"the tar {file.name}")
    except OSError as error:
        raise from_os(error, doing=f"can't unpack below {root}") from error


def content_sha256(spec: PackageSpec, file: Path) -> str:
    """The hash of a fetched package's content, without reading anything in it (`Obtained.content_sha256`)."""
    return rpm.content_sha256(rpm.read_bytes(file)) if spec.kind == RPM else sha256_file(file)


def build_time(spec: PackageSpec, file: Path) -> int:
    """When a fetched package was made, in seconds since 1970."""
    if spec.kind == RPM:
        return rpm.read_package(file).build_time
    data = read_file(file)
    return deb.parse_deb(data).build_time if spec.kind == DEB else sourcetree.newest(data, what=file.name)


def _from_repository(
    spec: PackageSpec, dest: Path, trust: Trust, address: str, listed: tuple[RepoPackage, ...] | None, log: Path,
    seconds: float,
) -> Obtained:
    if not _known(spec, trust):
        with scratch(dest.parent, dest.name) as folder:
            file = folder / "package"
            offered, _ = download_version(address, spec.names, spec.version, spec.arch, file, log, listed, seconds,
                                          known=True)
            return _unread(spec, offered.href, sha256_file(file))
    fetched = fetch_package(
        address, package_names=spec.names, version=spec.version, arch=spec.arch, key_file=trust.key_file,
        fingerprint=trust.fingerprint, dest=dest, locked_content_sha256=trust.locked_content_sha256,
        pinned_sha256=spec.sha256, log=log, listed=listed, seconds=seconds,
    )
    package = fetched.package
    return Obtained(
        spec, package.name, package.version, package.license, package.build_time, fetched.href,
        f"{spec.repository.rstrip('/')}/{fetched.href}", package.content_sha256, fetched.file_sha256, fetched.signature,
        _known(spec, trust), rpm_scripts(package),
    )


def _read_rpm(spec: PackageSpec, file: Path, digest: str, trust: Trust, log: Path) -> Obtained:
    data = rpm.read_bytes(file)
    package = rpm.parse_package(data)
    signature = verify_signature(data, package, trust.key_file, trust.fingerprint, log=log) if trust.key_file else None
    check_label(package, spec.names, spec.version, spec.arch, spec.url)
    return Obtained(
        spec, package.name, package.version, package.license or spec.license, package.build_time, _href(spec), spec.url,
        package.content_sha256, digest, signature, _known(spec, trust), rpm_scripts(package),
    )


def _read_deb(spec: PackageSpec, file: Path, digest: str, trust: Trust, log: Path) -> Obtained:
    package = deb.parse_deb(read_file(file))
    if (spec.names and package.name not in spec.names) or package.version != spec.version or (
        spec.arch not in ("", package.arch)
    ):
        raise FoundryError(
            f"{spec.url} should be {' or '.join(spec.names)} {spec.version} but is {package.name} {package.version}"
            f" ({package.arch})", reason=Reason.PACKAGE_MISLABELLED, log=log,
            hint="correct `download` in the family file, or the version in the matrix",
        )
    return Obtained(
        spec, package.name, package.version, spec.license, package.build_time, _href(spec), spec.url, digest, digest,
        None, _known(spec, trust), {f"{name} of {package.name}": text for name, text in package.scripts.items()},
    )


def _read_tar(spec: PackageSpec, file: Path, digest: str, trust: Trust, log: Path) -> Obtained:
    del log
    name = next(iter(spec.names), "") or _href(spec).partition("-")[0]
    return Obtained(
        spec, name, "", spec.license, sourcetree.newest(read_file(file), what=spec.url), _href(spec), spec.url,
        digest, digest, None, _known(spec, trust), {},
    )


_READERS = {RPM: _read_rpm, DEB: _read_deb, TAR: _read_tar}


def _unread(spec: PackageSpec, href: str, digest: str) -> Obtained:
    """What nothing vouches for: where it is, and its hash."""
    return Obtained(spec, href, "", spec.license, 0, href, spec.url, digest, digest, None, False, {})


def rpm_scripts(package: rpm.Package) -> dict[str, str]:
    """The scripts that the package would run on a node, by what they are called."""
    return {f"%{name} of {package.name}": text for name, text in package.scripts.items()}


def _known(spec: PackageSpec, trust: Trust) -> bool:
    return bool(trust.key_file or spec.sha256 or trust.locked_content_sha256)


def _href(spec: PackageSpec) -> str:
    return unquote(urlsplit(spec.url).path.rpartition("/")[2])
