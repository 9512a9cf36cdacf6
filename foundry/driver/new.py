"""`doit new`: a driver version, or a family, put into the checkout after a look into its package.

Everything is found out and checked first, as if it stood in the files already; then matrix, family file and lock are
written, all of them or none. What is there is never overwritten.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from foundry.base.errors import ConfigError, Fault, FoundryError, UsageError
from foundry.base.files import parse_json, read_file, scratch, write_atomic
from foundry.base.reasons import Reason
from foundry.base.versions import minor_of, version_key
from foundry.base.yaml_files import parse_yaml
from foundry.config.catalogue import DEFAULT
from foundry.config.families import make_family
from foundry.config.family import Family
from foundry.config.load import Config, MatrixEntry, merged
from foundry.config.locks import Lock, MainPackage
from foundry.config.matrix_file import with_entry
from foundry.config.package_specs import UNSIGNED, kind_of_url
from foundry.driver import fetch, guess
from foundry.net.transport import shown
from foundry.packages.obtain import Obtained
from foundry.plan.selection import faults_in_the_way, gaps_of
from foundry.plan.state import States
from foundry.run.context import Foundry

FOLDER = "new"  # below the profile's output: the log and keys of the last look
_LOG = "look.log"
_URL = re.compile(r"(https?|file|apt)://[\w.:-]*/")
_KEY_BYTES = 1 << 20
_UNVOUCHED = ("that this is the file that is meant: no signature is checked. Compare its SHA-256 with what the vendor"
              " says, on another way than this download")


@dataclass(frozen=True)
class Wishes:
    """What the command line says; what is empty is guessed. `releases` may be minors, too; `key` is a key's URL."""

    family: str = ""
    driver: str = ""
    releases: tuple[str, ...] = ()
    package: str = ""
    license: str = ""
    key: str = ""


@dataclass
class Added:
    """What was added: sentences on what the package is, what was guessed, the files written, the commands to go on."""

    driver: str
    family: str
    found: list[str] = field(default_factory=list)
    guessed: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    next: list[str] = field(default_factory=list)


def new_driver(foundry: Foundry, driver: str, wishes: Wishes) -> Added:
    """Put a version of a known family into the matrix and its package's hash into the lock.

    Raises UsageError for what is there already or is unknown, ConfigError for what no matrix may have, and what
    fetching and reading the package raise: then nothing was written.
    """
    config = foundry.config
    name = wishes.family or config.settings.default_family
    added = Added(driver, name)
    _require_unwanted(config, driver)
    family = config.families.get(name)
    if family is None:
        raise UsageError(f"there is no family {name!r}; there are {', '.join(config.families) or 'none'}",
                         hint="`doit new family URL` makes one of a package")
    if not wishes.family:
        added.guessed.append(f"the family {name}: it is the one of entries that name none")
    entry = _entry(config, added, wishes.releases)
    try:
        _put(foundry, family, entry, added, config.locks.of(name))
    except FoundryError as error:
        if error.reason != Reason.DRIVER_UNKNOWN:
            raise
        other = "" if wishes.family else "; of another family: `--family=NAME`"
        raise UsageError(error.message, hint=f"{error.hint}{other}") from error
    return added


def new_family(foundry: Foundry, place: str, wishes: Wishes) -> Added:
    """Make a family of the package at `place`: an address or a path of a package, or a repository's address.

    Raises as `new_driver`.
    """
    config, url = foundry.config, _address(place)
    log = _log(foundry)
    with scratch(log.parent, "look") as work:
        try:
            found = guess.look(foundry, url, wishes.package, wishes.driver, work, log)
        except FoundryError as error:
            if error.reason == Reason.SOURCE_MISSING or error.reason.startswith("dkms-"):
                error.hint = "it can't be guessed how it is made: write the family file yourself (docs/families.md)"
            raise
        if found.driver != (wishes.driver or found.driver):
            raise UsageError(f"{place} is version {found.driver}, not {wishes.driver}")
        name = wishes.family or guess.family_name(found.name)
        added = Added(found.driver, name)
        if not wishes.family:
            added.guessed.append(f"the name {name}: the package is {found.name}")
        _require_unwanted(config, found.driver)
        _require_no_family(config, name)
        signing = _signing(foundry, wishes.key, work)
    added.guessed += [note for note in found.notes if not (wishes.license and note.startswith("the licence "))]
    license_ = wishes.license or found.license
    if not license_:
        raise UsageError(f"neither the package nor its sources name a licence of {name}",
                         hint="name it as SPDX does: `--license=GPL-2.0-only`")
    document = _document(config, found, license_, signing, added)
    family, entry = _family(config, name, document), _entry(config, added, wishes.releases)
    known = (config.locks.of(other).base for other in config.families)
    base = next((base for base in known if base is not None and base.name == family["base"]["name"]), None)
    _put(foundry, family, entry, added, Lock(base=base), _yaml(document))
    return added


def _require_unwanted(config: Config, driver: str) -> None:
    for want in config.wants:
        if want.driver == driver:
            raise UsageError(f"{driver} is in the matrix already, of the family {want.family} ({' '.join(want.where)})",
                             hint=f"`doit build:{driver}` builds it; to change it, edit {want.where[0]}")


def _require_no_family(config: Config, name: str) -> None:
    files = [Path(folder) / f"{name}.yaml" for folder in config.settings.drivers]
    for file in (*files, config.locks.path(name)):
        if os.path.lexists(config.root / file):
            raise UsageError(f"{file} exists already", hint="another version of that family: `doit new driver VERSION"
                             f" --family={name}`; another name: `--name=NAME`")


def _address(place: str) -> str:
    """A URL as it is; a path as the URL of what is there. UsageError where nothing is."""
    if "://" in place:
        if not _URL.match(place) or not unquote(place).isprintable():
            raise UsageError(f"{shown(place)} is no address of http, https, file or apt, or it has a log-in in it")
        return place
    path = Path(place)
    if not (path.is_file() and kind_of_url(path.name)) and not (path / "repodata").is_dir():
        what = "is no RPM, Debian package or tar, and no repository" if path.exists() else "does not exist"
        raise UsageError(f"{place} {what}", hint="name a package (.rpm, .deb, .tar.gz …), or a folder with repodata/")
    return path.absolute().as_uri()


def _entry(config: Config, added: Added, releases: Sequence[str]) -> dict[str, Any]:
    """The matrix entry; what the command line does not say is as in that of the family's newest driver."""
    mine = [want for want in config.wants if want.family == added.family]
    newest = max(mine, key=lambda want: version_key(want.driver), default=None)
    entry: dict[str, Any] = {"driver": added.driver}
    if added.family != config.settings.default_family:
        entry["family"] = added.family
    if newest is not None and not releases:
        added.guessed.append(f"for {', '.join(newest.releases)}: as {newest.driver}")
        more = {"flavours": newest.flavours if newest.flavours != (DEFAULT,) else (), "arch": newest.arch}
        entry["ocp_versions"] = list(newest.releases)
        return {**entry, **{what: list(some) for what, some in more.items() if some}}
    if not releases:
        minors = {minor_of(one.version) for one in config.catalogue} or {
            minor_of(one) for want in config.wants for one in want.releases}
        if not minors:
            raise UsageError("it can't be guessed for which releases it is meant",
                             hint="name them: `--ocp=4.18,4.19.3`")
        releases = [max(minors, key=version_key)]
        added.guessed.append(f"for {releases[0]}: the newest minor here")
    return {**entry, "ocp_versions": list(releases)}


def _signing(foundry: Foundry, key: str, work: Path) -> dict[str, str]:
    """What `signing` says of the key at a URL; empty without one."""
    from foundry.net.http import get
    from foundry.packages.gpg import fingerprints

    if not key:
        return {}
    file = work / "key"
    write_atomic(file, get(foundry.addresses.resolve(key), max_bytes=_KEY_BYTES,
                           total=foundry.settings.network_timeout, log=_log(foundry)))
    found = fingerprints(file)
    if not found:
        raise UsageError(f"there is no OpenPGP key at {key}")
    return {"key_url": key, "fingerprint": found[0]}


def _document(
    config: Config, found: guess.Guess, license_: str, signing: Mapping[str, str], added: Added
) -> dict[str, Any]:
    """The family file's content, in the order in which it is written."""
    place: dict[str, Any] = {part: dict(said) for part, said in found.place.items()}
    if "download" in place:
        place["download"]["license"] = license_
    elif license_ != found.license:  # RPMs say one themselves
        place["license"] = license_
    texts = list(guess.licence_files(config.root, license_))
    if not texts:
        added.guessed.append(f"licence texts as other families have them: container/licenses/ has none of {license_}")
    if signing:
        added.guessed.append(f"the key {signing['fingerprint']}: it is the first at {signing['key_url']}; compare it"
                             " with what the vendor says, on another way")
    else:
        added.guessed += ["`signature: none`, though it is signed: `--key=URL` has signatures checked"] * found.signed
        added.guessed.append(_UNVOUCHED)
    return {
        "title": found.title or f"{added.family} driver", **place,
        **({"signing": dict(signing)} if signing else {"signature": UNSIGNED, "sha256": {found.driver: found.sha256}}),
        "source": {"dkms": True},
        **({"licenses": texts} if texts and texts != config.settings.family.get("licenses") else {}),
    }


def _family(config: Config, name: str, document: Mapping[str, Any]) -> Family:
    """The family, checked as loading checks it. Raises ConfigError."""
    file = f"{config.settings.drivers[0]}/{name}.yaml"
    whole = merged(config.settings.family, document)
    faults = config.validation.faults("family", whole, file)
    if not faults:
        family, faults = make_family(name, whole, file, config.root)
    if faults:
        raise ConfigError(faults, hint="write the file yourself: docs/families.md")
    return family


def _put(
    foundry: Foundry, family: Family, entry: Mapping[str, Any], added: Added, lock: Lock,
    document: bytes = b"",
) -> None:
    """Look into the package as the configuration will have it, and write all of it; `document` is a new family's."""
    config = foundry.config
    matrix, locked = config.settings.matrix[0], str(config.locks.path(family.name))
    text = with_entry(read_file(config.root / matrix).decode(), entry)
    if faults := config.validation.faults("matrix", parse_json(text.encode()), matrix):
        raise ConfigError(faults)
    trial = _trial(foundry, family, entry, lock)
    log = _log(foundry)
    with scratch(log.parent, "look") as work:
        known = lock.packages.get(added.driver)
        found = fetch.obtained(trial, family, added.driver, known, work, log)
        pins = {one.spec.role: one.file_sha256 for one in found if not one.known}
        if pins:
            added.guessed.append(_UNVOUCHED)
            family = _pinned(family, added.driver, pins)
            found = fetch.obtained(trial, family, added.driver, known, work, log)
        package = fetch.read(family, added.driver, found, work)
    lock = lock.with_package(added.driver, package)
    added.found = list(_told(added.driver, found, package))
    # the matrix is the last one: without it the others mean nothing
    files = {**({family.file: document} if document else {}), matrix: text.encode()}
    added.written = [locked, *files]
    with _all_or_none([config.root / file for file in added.written]):
        config.locks.write(family.name, lambda now: replace(now, base=now.base or lock.base).with_package(
            added.driver, package))
        for file, data in files.items():
            write_atomic(config.root / file, data)
    name = f"build:{added.driver}"
    after = _trial(foundry, family, entry, lock)
    lacking = faults_in_the_way([name], after.states.plan, after.config) or gaps_of([name], after.states.plan)
    added.next = [*(["doit toolkit"] if lacking else []), f"doit {name}"]


def _trial(foundry: Foundry, family: Family, entry: Mapping[str, Any], lock: Lock) -> Foundry:
    """As the checkout will be: nothing is written, and services and registries are the same."""
    config = foundry.config
    want = MatrixEntry(entry["driver"], family.name, tuple(entry["ocp_versions"]), (config.settings.matrix[0], "$"),
                       tuple(entry.get("flavours", ("default",))), tuple(entry.get("arch", ())))
    config = replace(config, families={**config.families, family.name: family}, wants=(*config.wants, want),
                     locks=config.locks.with_lock(family.name, lock))
    return replace(foundry, config=config, states=States(config, not_here=foundry.states.not_here))


def _pinned(family: Family, driver: str, pins: Mapping[str, str]) -> Family:
    """The family with the hashes of a driver's packages (hex SHA-256), by their roles."""
    data = dict(family.data)
    for role, sha256 in pins.items():
        if role:
            further = dict(data["further_packages"])
            further[role] = {**further[role], "sha256": {**further[role].get("sha256", {}), driver: sha256}}
            data["further_packages"] = further
        else:
            data["sha256"] = {**data.get("sha256", {}), driver: sha256}
    return replace(family, data=data)


def _told(driver: str, found: Sequence[Obtained], package: MainPackage) -> Iterator[str]:
    """What the packages are, in sentences."""
    for one in found:
        signer = one.signature
        vouched = f"signed by {signer.fingerprint}" if signer is not None else f"SHA-256 {one.file_sha256}"
        yield f"{one.href}: {one.name} {one.version or driver}, {one.license or 'no licence'}, {vouched}"
    if package.dkms is not None:
        yield from (f"module {one.name}, in {one.installed}" for one in package.dkms.modules)
        yield f"made by: {' '.join(package.dkms.make)}"
        yield from package.dkms.remarks
    if package.node:
        yield (f"what it does on a node besides ({len(package.node)} findings in the lock) is no part of the images:"
               " the notes list it")


def _yaml(document: Mapping[str, Any]) -> bytes:
    """A family file's text."""
    import yaml

    head = "# Written by `doit new family`; docs/families.md says what else may stand here.\n"
    text = head + yaml.safe_dump(dict(document), sort_keys=False, width=120, allow_unicode=True)
    if parse_yaml(text.encode()) != document:
        raise ConfigError([Fault("the family file", "", "can't be written as YAML")])
    return text.encode()


@contextmanager
def _all_or_none(files: Sequence[Path]) -> Iterator[None]:
    """Where the block fails, the files are as they were."""
    before = {file: read_file(file) if file.exists() else None for file in files}
    try:
        yield
    except BaseException:  # Ctrl-C, too
        for file, data in before.items():
            if data is None:
                file.unlink(missing_ok=True)
            else:
                write_atomic(file, data)
        raise


def _log(foundry: Foundry) -> Path:
    log = foundry.root / foundry.config.build / FOLDER / _LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    return log
