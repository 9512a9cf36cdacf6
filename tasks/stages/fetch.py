"""Stage fetch: the driver's package, verified, and its lock.

repomd → primary → RPM by SHA-256, then the signature by the full fingerprint.
The first fetch of a version locks the hash of its content; later ones must
match it.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.core.config import Family
from tasks.core.errors import ConfigError, Fault, FoundryError
from tasks.core.files import pretty_json, read_json, remove_stale, write_atomic
from tasks.core.records import output_facts, write_record
from tasks.services.lock import locked
from tasks.stages.context import Foundry
from tasks.stages.failure import noted

if TYPE_CHECKING:
    from tasks.services.packages import FetchedPackage, Repository

PACKAGE = "package.rpm"
RECORD = "fetch.json"
LOG = "fetch.log"

_repositories: dict[str, Repository] = {}  # by base URL, as listed in this run
_repositories_lock = threading.Lock()


def fetch(foundry: Foundry, driver: str, family: Family) -> None:
    """Leave ``package.rpm`` and ``fetch.json`` in the driver's source folder and lock the version.

    Raises FoundryError: unknown version, wrong hash, wrong or missing signature,
    a package that differs from the locked one; OutsideError: repository not to be had.
    """
    with noted(foundry.source_folder(driver), stage="fetch", driver=driver):
        _fetch(foundry, driver, family)


def _fetch(foundry: Foundry, driver: str, family: Family) -> None:
    from tasks.services.http import get
    from tasks.services.packages import fetch_package

    folder = foundry.source_folder(driver)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / LOG
    log.unlink(missing_ok=True)
    remove_stale(folder)
    record = folder / RECORD
    record.unlink(missing_ok=True)
    key_file = folder / "signing-key.asc"
    seconds = float(foundry.settings["network_timeout"])
    key_url = foundry.resolve(family["signing"]["key_url"])
    write_atomic(key_file, get(key_url, max_bytes=1 << 20, total=seconds, log=log))
    locked = foundry.config.locks[family.name]["packages"].get(driver)
    base_url = foundry.resolve(family["repository"]["url"])
    fetched = fetch_package(
        base_url,
        package_names=family["repository"]["packages"],
        version=driver,
        arch=family["repository"].get("arch", "noarch"),
        key_file=key_file,
        fingerprint=pinned_fingerprint(foundry, family),
        dest=folder / PACKAGE,
        locked_content_sha256=locked["content_sha256"] if locked else None,
        log=log,
        repository=_repository(base_url, log, seconds),
        seconds=seconds,
    )
    entry = _lock_entry(family, fetched)
    _lock(foundry, family, driver, entry)
    write_record(record, "fetch", {
        "driver": driver, "family": family.name, "inputs": {}, "outputs": output_facts(folder, [PACKAGE]),
        "key": foundry.states.fetch_key(driver, family),
        "content_sha256": fetched.package.content_sha256, "file_sha256": fetched.file_sha256, "url": entry["url"],
        "signature": {"fingerprint": fetched.signature.fingerprint, "created": fetched.signature.created},
    })


def pinned_fingerprint(foundry: Foundry, family: Family) -> str:
    """The full fingerprint that must have signed the package; ConfigError when there is none."""
    signing = family["signing"]
    if "fingerprint_file" in signing:
        path = foundry.root / str(signing["fingerprint_file"])
        try:
            return path.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            fault = Fault(f"config/drivers/{family.name}.yaml", "$.signing.fingerprint_file",
                          f"{signing['fingerprint_file']} does not exist")
            raise ConfigError([fault], hint="run `doit sandbox:up`") from None
    return str(signing["fingerprint"])


def _repository(base_url: str, log: Path, seconds: float) -> Repository:
    """The repository's listing, read once a run for all drivers."""
    from tasks.services.packages import list_packages

    with _repositories_lock:
        found = _repositories.get(base_url)
        if found is None:
            found = _repositories[base_url] = list_packages(base_url, log=log, seconds=seconds)
        return found


def _lock_entry(family: Family, fetched: FetchedPackage) -> dict[str, Any]:
    """What the lock keeps of a package: its content's hash and the facts that labels show."""
    package = fetched.package
    return {
        "name": package.name, "href": fetched.href,
        "url": f"{family['repository']['url'].rstrip('/')}/{fetched.href}",
        "content_sha256": package.content_sha256, "build_time": package.build_time, "license": package.license,
    }


def _lock(foundry: Foundry, family: Family, driver: str, entry: dict[str, Any]) -> None:
    """Add the version to the lock file, beside whatever another run or an editor put there meanwhile."""
    path = foundry.root / foundry.config.lock_path(family.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(foundry.root / foundry.config.build / f".lock-{family.name}"):
        document = read_json(path) if path.exists() else {"schema": 1, "packages": {}}
        if not isinstance(document, dict) or not isinstance(document.get("packages"), dict):
            raise FoundryError(f"{path} was changed to something that is no lock", reason="lock-unreadable",
                               hint="correct it and run again")
        if document["packages"].get(driver) != entry:
            foundry.journal.warn(f"{driver} is now locked in {foundry.config.lock_path(family.name)}: keep that file")
            document["packages"][driver] = entry
            write_atomic(path, pretty_json(document))
        foundry.config.locks[family.name]["packages"][driver] = entry
