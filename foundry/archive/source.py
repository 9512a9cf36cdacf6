"""`source: archive`: a driver's package from the archive instead of the vendor's repository, without the network."""

from __future__ import annotations

import os
from pathlib import Path

from foundry.archive import form
from foundry.archive.content import TAGS, Version, versions_of
from foundry.archive.form import RPMS
from foundry.archive.git import Git, created, opened
from foundry.archive.place import Place, pull
from foundry.archive.settings import pinned, place_of, settings_of
from foundry.base.errors import ConfigError, Fault, FoundryError
from foundry.base.filelock import locked
from foundry.base.files import scratch, sha256_bytes, write_atomic
from foundry.base.reasons import Reason
from foundry.config.family import Family
from foundry.config.package_specs import MAIN, PackageSpec
from foundry.formats.packages import rpm
from foundry.packages.obtain import Obtained, rpm_scripts
from foundry.packages.repository import check_label, check_lock, check_pin, verify_signature
from foundry.run.context import Foundry

_KEYS = ("archive/key.asc", "archive/key.gpg")
_SHOWN = 5


def obtain_archived(
    foundry: Foundry, family: Family, spec: PackageSpec, dest: Path, *, key_file: Path, locked_sha256: str | None,
    log: Path,
) -> Obtained:
    """The package to `dest`, once it is verified as if it came from the vendor; its key to `key_file`.

    Raises ConfigError where the family or the package has no archive, FoundryError ``archive-missing``,
    ``driver-unknown``, ``digest-mismatch``, and what verifying a package raises.
    """
    if "archive" not in family.data or spec.role != MAIN:
        what = f"the package {spec.role!r}" if spec.role else "the family"
        raise ConfigError([Fault(family.file, "$.archive", f"{what} has no archive, and `source` is archive")],
                          hint="archive it (`doit archive`), or set `source: repository`")
    git = _repository(foundry, family)
    refs = git.refs(TAGS)
    one = _choose(git, versions_of(refs), spec)
    fields = form.parse_fields(git.run("cat-file", "commit", one.commit).output.partition(b"\n\n")[2])
    name = fields.get(form.FILE_NAME, "")
    data = git.blob(f"{one.commit}:{RPMS}{name}")
    digest = sha256_bytes(data)
    if form.parse_checksum(git.blob(f"{one.commit}:{RPMS}{name}.sha256"), name) != digest:
        raise FoundryError(f"the archive's {name} is not what its checksum says",
                           reason=Reason.DIGEST_MISMATCH, log=log,
                           hint=f"`doit archive:verify:{family.name}` shows what else is wrong")
    check_pin(name, digest, spec.sha256)
    check_lock(name, rpm.content_sha256(data), locked_sha256, spec.version)
    write_atomic(key_file, _key(git, family))
    package = rpm.parse_package(data)
    signature = verify_signature(data, package, key_file, pinned(foundry, family), log=log, later=True)
    check_label(package, spec.names, spec.version, spec.arch, name)
    with scratch(dest.parent, dest.name) as folder:
        (folder / "package").write_bytes(data)
        os.replace(folder / "package", dest)
    location = fields.get(form.LOCATION, "")
    href = location if location.rpartition("/")[2] == name else name
    return Obtained(
        spec, package.name, package.version, package.license, package.build_time, href,
        f"{spec.repository.rstrip('/')}/{href}", package.content_sha256, digest, signature, True, rpm_scripts(package),
    )


def _repository(foundry: Foundry, family: Family) -> Git:
    """The archive on this machine; taken from its remote where it is not here yet."""
    place = place_of(foundry, family)
    found = opened(place)
    settings = settings_of(foundry, family) if found is None and family["archive"].get("remote") else None
    if settings is not None:
        with locked(foundry.root / foundry.config.build / "archive" / f".lock-{family.name}"):
            found = opened(place) or created(place, settings.branch)
            pull(settings, Place(settings, found), foundry.root / foundry.config.build / "archive" / "pull.log")
    if found is None:
        raise FoundryError(f"there is no archive at {place}", reason=Reason.ARCHIVE_MISSING,
                           hint=f"clone it there, or run `doit archive:{family.name}` where the vendor can be reached")
    return found


def _choose(git: Git, versions: list[Version], spec: PackageSpec) -> Version:
    found = [one for one in versions if spec.version in (one.evr.version, f"{one.evr.version}-{one.evr.release}")]
    if len(found) == 1:
        return found[0]
    if found:
        raise FoundryError(f"the archive has {len(found)} packages of version {spec.version}",
                           reason=Reason.DRIVER_AMBIGUOUS, hint="name version and release in the matrix")
    newest = [one.evr.version for one in reversed(versions)]
    more = f" and {len(newest) - _SHOWN} older ones" if len(newest) > _SHOWN else ""
    raise FoundryError(f"the archive {git.place} has no version {spec.version}", reason=Reason.DRIVER_UNKNOWN,
                       hint=f"it has {', '.join(newest[:_SHOWN]) or 'none'}{more}; `doit archive` brings it up to date")


def _key(git: Git, family: Family) -> bytes:
    """The public key on the branch."""
    from foundry.archive.settings import branch_of

    listing = git.listing(f"refs/heads/{branch_of(family)}")
    for path in _KEYS:
        if path in listing:
            return next(git.objects([listing[path].oid]))[1]
    raise FoundryError(f"the archive {git.place} has no public key on its branch", reason=Reason.ARCHIVE_BROKEN,
                       hint=f"`doit archive:verify:{family.name}` says what is wrong with it")
