"""What a package that no family describes yet says of itself: enough for a family file.

The package may be an RPM of a repository, or a file. It is read before anything vouches for it: its hash is what is
pinned, and `doit new` asks the user to compare it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from foundry.base.errors import UsageError
from foundry.base.files import open_file, read_file, sha256_file
from foundry.config.family import Family
from foundry.config.package_specs import DEB, RPM, TAR, PackageSpec, kind_of_url
from foundry.driver.discover import source_place
from foundry.formats.packages import deb, dkms, rpm
from foundry.packages import apt
from foundry.run.context import Foundry

_MAX_SOURCE = 1 << 20  # bytes of a source file that is looked into
_SHOWN = 10
_OF_DKMS = re.compile(r"^(?:dkms|akmod|kmod)-|-(?:dkms|akmod|kmod)$")
_NO_NAME = re.compile(r"[^a-z0-9]+")
_TAR_NAME = re.compile(r"(?P<name>.+?)[-_]v?(?P<version>[0-9][0-9A-Za-z.+~-]*?)(?:\.t[a-z0-9]+|\.tar(?:\.[a-z0-9]+)?)")
_SPDX = re.compile(r"SPDX-License-Identifier:\s*\(?([A-Za-z0-9.+ ()-]+?)\)?\s*(?:\*/)?\s*$", re.MULTILINE)
_MODULE_LICENSE = re.compile(r'MODULE_LICENSE\s*\(\s*"([^"]+)"')
# include/linux/module.h says what these mean.
_SPDX_OF = {"GPL": "GPL-2.0-or-later", "GPL v2": "GPL-2.0-only", "GPL and additional rights": "GPL-2.0-or-later",
            "Dual BSD/GPL": "BSD-3-Clause OR GPL-2.0-only", "Dual MIT/GPL": "MIT OR GPL-2.0-only"}


@dataclass(frozen=True)
class Guess:
    """A package, and what it says of itself; `notes` are sentences on what was guessed.

    `place` is its `repository` or `download` as a family file has it, `sha256` that of its file (hex); `license` and
    `title` may be empty.
    """

    name: str
    driver: str
    license: str
    title: str = ""
    signed: bool = False
    notes: tuple[str, ...] = ()
    place: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    sha256: str = ""


def look(foundry: Foundry, url: str, package: str, driver: str, work: Path, log: Path) -> Guess:
    """Fetch what is at `url`, a package or a repository, into the folder `work`, and read it.

    `package` and `driver` choose among a repository's packages, where they are not empty. Raises what fetching and
    reading raise, and UsageError where it can't be told which package is meant.
    """
    kind = kind_of_url(url)
    if not kind:
        return _of_repository(foundry, url, package, driver, work, log)
    file = work / _called(url)
    _download(foundry, url, file, log)
    found = _READERS[kind](PackageSpec("", kind, "", url, (), "", "", "", "", None, "$"), file, work)
    if kind == TAR and driver:
        found = replace(found, driver=driver)
    pattern, notes = address_pattern(url, found.driver), list(found.notes)
    if pattern == url:
        notes.append(f"the address names no version: it stands for {found.driver} alone")
    if url.startswith("file:"):
        notes.append("the address is a path on this machine: elsewhere the package can't be fetched")
    name = {} if kind == TAR else {"name": found.name}
    return replace(found, place={"download": {"url": pattern, **name}}, notes=tuple(notes), sha256=sha256_file(file))


def _download(foundry: Foundry, url: str, file: Path, log: Path) -> None:
    from foundry.net import http
    from foundry.packages.obtain import MAX_FILE

    if url.startswith(apt.SCHEME):
        apt.download(url, file, log)
    else:
        http.download(foundry.addresses.resolve(url), file, sha256=None, max_bytes=MAX_FILE,
                      total=foundry.settings.network_timeout, log=log)


def _of_repository(foundry: Foundry, url: str, package: str, driver: str, work: Path, log: Path) -> Guess:
    from foundry.packages.repository import download_version, is_version, list_packages, rpm_version_key

    address, seconds = foundry.addresses.resolve(url), foundry.settings.network_timeout
    listed = [one for one in list_packages(address, log=log, seconds=seconds) if one.arch != "src" and not one.fault]
    names = sorted({one.name for one in listed})
    likely = [package] if package else [name for name in names if _OF_DKMS.search(name)] or names
    if len(likely) != 1 or likely[0] not in names:
        what = f"no package {package}" if package else f"{len(likely)} packages that may be meant"
        shown = ", ".join((names if package else likely)[:_SHOWN]) or "none"
        raise UsageError(f"{url} has {what}; it has {shown}", hint="name the one with the sources: `--package=NAME`")
    mine = [one for one in listed if one.name == likely[0]]
    notes = [] if package else [f"the package {likely[0]}: its name is like that of a driver's sources"]
    taken = {want.driver for want in foundry.config.wants}
    fitting = [one for one in mine if (is_version(one, driver) if driver else one.version not in taken)]
    if not fitting:
        shown = ", ".join(sorted({one.version for one in mine}, key=rpm_version_key, reverse=True)[:_SHOWN])
        raise UsageError(f"{url} has no {likely[0]} {driver or 'that the matrix does not have'}; it has {shown}",
                         hint="name another one: `--driver=VERSION`")
    newest = max(fitting, key=lambda one: (rpm_version_key(one.version), rpm_version_key(one.release)))
    if not driver:
        notes.append(f"the version {newest.version}: the newest that the matrix does not have")
    alone = sum((one.version, one.arch) == (newest.version, newest.arch) for one in fitting) == 1
    version = driver or (newest.version if alone else f"{newest.version}-{newest.release}")
    file = work / "looked-at.rpm"
    download_version(address, [newest.name], version, newest.arch, file, log, None, seconds, known=True)
    spec = PackageSpec("", RPM, url, "", (newest.name,), newest.arch, version, "", "", None, "$")
    found = _of_rpm(spec, file, work)
    arch = {} if newest.arch == "noarch" else {"arch": newest.arch}
    return replace(found, place={"repository": {"url": url, "packages": [newest.name], **arch}}, driver=version,
                   notes=(*notes, *found.notes), sha256=sha256_file(file))


def _of_rpm(spec: PackageSpec, file: Path, work: Path) -> Guess:
    from foundry.packages.obtain import unpack

    package = rpm.read_package(file)
    unpack(spec, file, work / "looked-at")
    tree = _tree(work / "looked-at", package.version)
    said = Family("", {}, ()).license_of(package.license)
    license_, notes = (said, ()) if said else licence_of(tree)
    title = package.summary.strip() if package.version not in package.summary else ""
    signed = bool(package.signature or package.header_signature)
    return Guess(package.name, package.version, license_, title, signed, notes)


def _of_deb(spec: PackageSpec, file: Path, work: Path) -> Guess:
    from foundry.packages.obtain import unpack

    package = deb.parse_deb(read_file(file))
    unpack(spec, file, work / "looked-at")
    license_, notes = licence_of(_tree(work / "looked-at", package.version))
    return Guess(package.name, package.version, license_, notes=notes)


def _of_tar(spec: PackageSpec, file: Path, work: Path) -> Guess:
    from foundry.packages.obtain import unpack

    unpack(spec, file, work / "looked-at")
    called = _called(spec.url)
    tree = _tree(work / "looked-at", called)
    with open_file(tree / dkms.FILE) as stream:
        conf = dkms.parse(stream.read(dkms.MAX_BYTES + 1))
    match = _TAR_NAME.fullmatch(called)
    version, notes = conf.version, list[str]()
    if match is not None and match["version"] != version:
        version = match["version"]
        notes.append(f"the version {version}: the file's name has it, its {dkms.FILE} says {conf.version}")
    license_, more = licence_of(tree)
    return Guess(conf.name, version, license_, notes=(*notes, *more))


_READERS = {RPM: _of_rpm, DEB: _of_deb, TAR: _of_tar}


def _tree(root: Path, what: str) -> Path:
    return root / source_place(Family("new", {"source": {"dkms": True}}, (), "the family file"), what, root)


def licence_of(tree: Path) -> tuple[str, tuple[str, ...]]:
    """The licence that most source files name, else that of the modules; empty where neither is there."""
    texts = []
    for path in sorted(tree.rglob("*.[ch]")):
        if path.is_file() and not path.is_symlink():
            with open_file(path) as stream:
                texts.append(stream.read(_MAX_SOURCE).decode(errors="replace"))
    named = Counter(match[1].strip() for text in texts if (match := _SPDX.search(text)))
    if named:
        return named.most_common(1)[0][0], (f"the licence {named.most_common(1)[0][0]}: most source files name it",)
    said = next((match[1] for text in texts if (match := _MODULE_LICENSE.search(text))), "")
    license_ = _SPDX_OF.get(said, "")
    return license_, (f"the licence {license_}: MODULE_LICENSE says {said}",) if license_ else ()


def _called(url: str) -> str:
    """The name of the file at an address."""
    return unquote(urlsplit(url).path).rpartition("/")[2]


def address_pattern(url: str, driver: str) -> str:
    """The address with ``{driver}`` wherever its path names the version."""
    parts = urlsplit(url)
    version = "|".join(map(re.escape, (driver, quote(driver))))
    path = re.sub(rf"(?<![0-9A-Za-z])(v?)(?:{version})(?![0-9A-Za-z]|\.[0-9])", r"\1{driver}", parts.path)
    return urlunsplit(parts._replace(path=path))


def family_name(package: str) -> str:
    """A family's name made of a package's: ``acpi-call`` of ``acpi-call-dkms``; it may still be none."""
    return _NO_NAME.sub("-", _OF_DKMS.sub("", package.lower())).strip("-")


def licence_files(root: Path, license_: str) -> Sequence[str]:
    """The licence texts of the checkout that a licence names, relative to the root."""
    found = [path for path in sorted((root / "container/licenses").glob("*.txt"))
             if re.search(rf"\b{re.escape(path.stem)}(?:-only|-or-later|\+|\b)", license_)]
    return [path.relative_to(root).as_posix() for path in found]
