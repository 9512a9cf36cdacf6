"""The sandbox as a whole: what is missing is made, what is down is started."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from foundry.base.filelock import locked, user_lock
from foundry.base.files import pretty_json, read_json, remove_tree, scratch, sha256_file, write_atomic
from foundry.base.names import OCI_ARCH
from foundry.base.process import stop_all
from foundry.base.versions import version_key
from foundry.config.catalogue import entries_of
from foundry.config.locks import Base, Lock
from foundry.config.settings import SandboxContent
from foundry.plan.catalogue import catalogue_bytes
from foundry.plan.locks import merged_base
from foundry.podman.engine import Engine
from foundry.registry.credentials import Credentials
from foundry.sandbox import debian, images, standin, toolkits
from foundry.sandbox.daemons import REGISTRY, Daemons
from foundry.sandbox.localstore import LocalStore
from foundry.sandbox.made import Made
from foundry.sandbox.signatures import sign_releases
from foundry.signing.new import (
    CERTIFICATE_FILE,
    IMAGE_KEY_FILE,
    KEY_FILE,
    KEY_MODE,
    PUBLIC_FILE,
    write_image_pair,
    write_pair,
)

# A change of these changes what they make.
_PARTS = {
    "archive": ("debian.py", "images.py"),
    "repository": ("standin.py", "oldrpm.py", "openpgp3.py"),
    "releases": ("images.py", "signatures.py"),
}
_CODE = Path("foundry/sandbox")
_WORKERS = 3  # two toolkits and the RPM repository


@contextmanager
def _step(what: str) -> Iterator[None]:
    """One of the five steps of a start that makes something; each is said when it is done, two may go on at once."""
    started = time.monotonic()
    yield
    print(f"sandbox: {what} done  {time.monotonic() - started:.1f} s", file=sys.stderr)


class Sandbox:
    """Services and images in `folder`; catalogue, locks and key below `output`."""

    def __init__(self, folder: Path, project: Path, content: SandboxContent, output: Path) -> None:
        self.folder = folder.absolute()
        self.project = project.absolute()
        self.content = content
        self.output = output
        self.arch = platform.machine()
        self.daemons = Daemons(self.folder, self.project)
        self.made = Made(self.folder / "made.json", self.daemons.registry_storage)
        self.work = self.folder / "work"

    def up(self, log: Path) -> None:
        """Make what is missing, start the services, write catalogue, lock and key.

        Two at once don't collide: the second waits for the first. Raises
        OutsideError and FoundryError; whatever ends it, the next one goes on.
        """
        log = log.absolute()
        log.parent.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / "lock"):
            missing = self.missing()
            if not missing:
                self.daemons.ensure_running()
                self._write(self.results())
                return
            print(f"sandbox: making {', '.join(missing)}; log: {log}", file=sys.stderr)
            with _step("services"):
                self.daemons.ensure_running()
            self._write(self._make(log))

    def ensure_running(self) -> None:
        """Start the services if they are down; makes nothing."""
        self.daemons.ensure_running()

    def down(self) -> None:
        """Stop the services; what was made stays."""
        self.daemons.down()

    def running(self) -> bool:
        """Whether all services are up."""
        return self.daemons.running()

    def addresses(self) -> dict[str, str]:
        """Name → ``127.0.0.1:port`` of the services."""
        return self.daemons.addresses()

    def auth_files(self) -> dict[str, Path]:
        """Where the password of a service is, by its name."""
        return {REGISTRY: self.daemons.auth_file}

    def engine(self) -> Engine:
        """Podman that knows where the sandbox's services are, and the registry's password."""
        return Engine(self.folder / "engine" / "engine.json", self.addresses(), Credentials(files=self.auth_files()))

    # -- what is made and what is missing -----------------------------------

    def _inputs(self, part: str) -> object:
        code = {name: sha256_file(self.project / _CODE / name) for name in _PARTS[part]}
        match part:
            case "repository":
                return [code, _files(self.project / "container/sandbox/standin"), self.content.versions]
            case "archive":
                recipes = [
                    *(self.project / name for name in toolkits.FILES), *self._recipes("debian", "base"),
                    self.project / "container/sandbox/archive.sh",
                ]
                return [code, _hashes(recipes), debian.SUITE, self.arch, self.content.kernels, self.content.rt]
            case _:
                raise ValueError(part)

    def _release_inputs(self, kits: list[dict[str, str]]) -> object:
        code = {name: sha256_file(self.project / _CODE / name) for name in _PARTS["releases"]}
        key = self.daemons.web_root / "keys" / standin.SECRET_NAME
        return [code, _hashes(self._recipes("node", "release")), kits, dict(self.content.releases),
                sha256_file(key) if key.exists() else ""]

    def _recipes(self, *names: str) -> list[Path]:
        return [self.project / "container/sandbox" / f"Containerfile.{name}" for name in names]

    def results(self) -> dict[str, Any]:
        """What is made and still valid, by part; None for what is not."""
        results = {part: self.made.known(part, self._inputs(part)) for part in ("repository", "archive")}
        kits = results["archive"]["toolkits"] if results["archive"] else []
        return {**results, "releases": self.made.known("releases", self._release_inputs(kits))}

    def missing(self) -> list[str]:
        """The parts that an `up` would make."""
        results = self.results()
        return [part for part in _PARTS if results[part] is None]

    # -- making --------------------------------------------------------------

    def _make(self, log: Path) -> dict[str, Any]:
        remove_tree(self.work)
        engine = self.engine()
        store = LocalStore(engine, self.work)
        # Inputs are read once: who edits a file meanwhile gets what was there, and the next `up` sees the change.
        inputs = {part: self._inputs(part) for part in ("repository", "archive")}
        try:
            with store.cleaned(), _pool() as pool:
                make = partial(self._repository, log.with_name("standin.log"))
                repository = pool.submit(self.made.part, "repository", inputs["repository"], make)
                archive = self.made.part("archive", inputs["archive"], partial(self._archive, pool, store, log))
                kits = archive["toolkits"]
                made = repository.result()  # with the key that signs release images, too
                releases = self.made.part(
                    "releases", self._release_inputs(kits), partial(self._releases, kits, store, log))
                return {"repository": made, "archive": archive, "releases": releases}
        finally:
            remove_tree(self.work)

    @_step("driver packages")
    def _repository(self, log: Path) -> dict[str, object]:
        built = standin.build_repository(
            self.daemons.web_root / "yum", self.content.versions,
            source=self.project / "container/sandbox/standin", log=log,
        )
        names = [built.key_file, built.folder / "repodata/repomd.xml"]
        return {
            "key_file": str(built.key_file.relative_to(self.folder)), "fingerprint": built.fingerprint,
            "files": [str(name.relative_to(self.folder)) for name in names],
        }

    def _archive(self, pool: ThreadPoolExecutor, store: LocalStore, log: Path) -> dict[str, object]:
        """Everything that Debian's archive is needed for: the toolkits and the base image."""
        recipes = self.project / "container/sandbox"
        shared = LocalStore(store.engine, self.work, shared=True)
        with locked(user_lock()), scratch(self.work, "survey") as out, shared.cleaned(), _step("toolkits"):
            found = debian.survey(shared, debian.make_debian(shared, recipes, log), recipes, out, log)
            kernels = debian.choose_kernels(found.kernels, self.arch, self.content.kernels)
            pushed = pool.submit(toolkits.push_debian, shared, log.with_name("debian.log"))
            base = pool.submit(_step("base image")(images.build_base), store, found, recipes, log.with_name("base.log"))
            kit = toolkits.Kit(found, toolkits.read_recipe(self.project), self.project, "")
            toolkits.build_toolchain(shared, kit, kernels[-1], log)
            kit = replace(kit, base=pushed.result())
            rt = {kernels[number]: debian.rt_kernel(found.kernels, kernels[number], self.arch)
                  for number in self.content.rt}
            references = list(pool.map(
                lambda kernel: toolkits.build_toolkit(shared, kit, kernel, log, rt_kernel=rt.get(kernel, "")), kernels))
            made_base = base.result()
        base_reference = f"{str(made_base['name']).partition(':')[0]}@{made_base['digest']}"
        return {
            "base": made_base,
            "toolkits": [
                {"kernel": kernel, "reference": reference, **({"rt_kernel": rt[kernel]} if kernel in rt else {})}
                for kernel, reference in zip(kernels, references, strict=True)
            ],
            "images": [base_reference, kit.base, *references],
        }

    @_step("releases")
    def _releases(self, kits: list[dict[str, str]], store: LocalStore, log: Path) -> dict[str, object]:
        recipes = self.project / "container/sandbox"
        nodes = [images.build_node(store, kit["kernel"], recipes, log) for kit in kits]
        entries = []
        for version in sorted(self.content.releases, key=version_key):
            index = self.content.releases[version]
            kit = kits[index]
            payload = images.build_release(store, version, self.arch, kit["reference"], nodes[index], recipes, log)
            entries.append({
                "version": version, "arch": self.arch, "dtk": kit["reference"], "kernel": kit["kernel"],
                **({"rt_kernel": kit["rt_kernel"]} if "rt_kernel" in kit else {}),
                "payload": payload, "node_kernel": kit["kernel"],
            })
        signatures = sign_releases(
            self.daemons.web_root, ((f"{entry['version']}-{self.arch}", entry["payload"]) for entry in entries), log)
        return {"catalogue": entries, "images": [*nodes, *(entry["payload"] for entry in entries)],
                "files": [str(file.relative_to(self.folder)) for file in signatures]}

    # -- what others read ----------------------------------------------------

    def _write(self, known: Mapping[str, Any]) -> None:
        repository, catalogue = known["repository"], known["releases"]["catalogue"]
        _write_if_new(self.output / "driver-toolkit.json", catalogue_bytes(entries_of(catalogue)))
        _write_if_new(self.output / "keys/neuron.asc", (self.folder / repository["key_file"]).read_bytes())
        _write_if_new(self.output / "keys/neuron.fingerprint", f"{repository['fingerprint']}\n".encode())
        for file, content in signing_keys(self.folder / "signing").items():
            _write_if_new(self.output / "keys" / file, content, KEY_MODE if file.endswith(".key") else 0o644)
        lock = self.output / "locks/neuron.json"
        now = Lock.from_document(read_json(lock) or {"packages": {}})
        base = merged_base(now.base, Base.from_document(known["archive"]["base"]))
        _write_if_new(lock, replace(now, base=base).to_bytes())
        arch = OCI_ARCH[self.arch]
        graph = [{"version": one["version"], "arch": arch, "payload": one["payload"]} for one in catalogue]
        _write_if_new(self.daemons.releases, pretty_json(graph))


def signing_keys(folder: Path) -> dict[str, bytes]:
    """The keys that sign modules and images, and what is public of them, by their files' names; made once."""
    if not (folder / IMAGE_KEY_FILE).exists():
        with scratch(folder.parent, folder.name) as work:
            write_pair(work / "new", "kmod-foundry sandbox", years=100)
            write_image_pair(work / "new")
            remove_tree(folder)
            os.replace(work / "new", folder)
    files = (KEY_FILE, CERTIFICATE_FILE, IMAGE_KEY_FILE, PUBLIC_FILE)
    return {file: (folder / file).read_bytes() for file in files}


@contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    """Threads that wait for commands; an interruption ends the commands, so that the threads end too."""
    with ThreadPoolExecutor(max_workers=_WORKERS) as pool:
        try:
            yield pool
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            if not isinstance(error, Exception):
                stop_all()
            raise


def _files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): sha256_file(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }


def _hashes(paths: list[Path]) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in sorted(paths)}


def _write_if_new(path: Path, data: bytes, mode: int = 0o644) -> None:
    if not path.exists() or path.read_bytes() != data:
        write_atomic(path, data, mode)
