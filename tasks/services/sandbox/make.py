"""The sandbox as a whole: what is missing is made, what is down is started.

Each part is remembered in ``made.json`` with a hash of its inputs, written when
the part is whole; so a second `up` is free, a killed one goes on where it was,
and a changed stand-in touches no toolkit.
"""

from __future__ import annotations

import fcntl
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.core.files import canonical_json, pretty_json, read_json, sha256_bytes, sha256_file, write_atomic
from tasks.core.versions import version_key
from tasks.services.podman import Engine
from tasks.services.sandbox import images, toolkits
from tasks.services.sandbox.daemons import Daemons
from tasks.services.sandbox.standin import build_repository

_NAMES = {"registry": "registry.sandbox.internal", "web": "web.sandbox.internal"}


@dataclass(frozen=True)
class SandboxPlan:
    """What the sandbox holds: stand-in versions, kernels, and which kernel (0 is the oldest) a release has."""

    versions: tuple[str, ...]
    releases: Mapping[str, int]
    kernels: int


class Sandbox:
    """Services and images in `folder`; catalogue, locks and key below `output`."""

    def __init__(self, folder: Path, project: Path, plan: SandboxPlan, output: Path) -> None:
        self.folder = folder.absolute()
        self.project = project
        self.plan = plan
        self.output = output
        self.daemons = Daemons(self.folder, project)
        self.arch = platform.machine()

    def up(self, log: Path) -> None:
        """Make what is missing, start the services, write catalogue, lock and key."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with self._alone():
            self.daemons.ensure_running()
            repository = self._part("repository", self._repository_inputs(), lambda: self._repository(log))
            base = self._part("base", self._files("container/sandbox"), lambda: self._base(log))
            kits = self._part("toolkits", self._toolkit_inputs(), lambda: self._toolkits(log))
            inputs = [kits, dict(self.plan.releases), self._files("container/sandbox")]
            releases = self._part("releases", inputs, lambda: self._releases(kits, log))
            self._finish(log)
            self._write(repository, base, releases)

    def ensure_running(self) -> None:
        """Start the services if they are down; makes nothing."""
        if len(self.daemons.running()) < len(_NAMES):
            with self._alone():
                self.daemons.ensure_running()

    def down(self) -> None:
        """Stop the services; what was made stays."""
        self.daemons.down()

    def running(self) -> bool:
        """True when all services are up."""
        return len(self.daemons.running()) == len(_NAMES)

    def addresses(self) -> dict[str, str]:
        """Name → ``127.0.0.1:port`` of what is up."""
        return {_NAMES[name]: service.address for name, service in self.daemons.running().items()}

    # -- the parts -----------------------------------------------------------

    def _part(self, name: str, inputs: object, make: Callable[[], Any]) -> Any:
        made_file = self.folder / "made.json"
        made = read_json(made_file) or {}
        wanted = sha256_bytes(canonical_json(inputs))
        known = made.get(name)
        if known and known["inputs"] == wanted:
            return known["result"]
        print(f"sandbox: making the {name}", file=sys.stderr)
        result = make()
        write_atomic(made_file, pretty_json({**made, name: {"inputs": wanted, "result": result}}))
        return result

    def _repository(self, log: Path) -> dict[str, str]:
        built = build_repository(
            self.folder / "web" / "yum", self.plan.versions, source=self.project / "container/sandbox/standin", log=log
        )
        return {"key_file": str(built.key_file.relative_to(self.folder)), "fingerprint": built.fingerprint}

    def _base(self, log: Path) -> dict[str, object]:
        engine = self._engine(log)
        return images.build_base(engine, self.project / "container/sandbox", self.folder, log).as_lock()

    def _toolkits(self, log: Path) -> list[dict[str, str]]:
        engine = self._engine(log)
        kernels = toolkits.find_kernels(engine, self.arch, self.plan.kernels, log)
        recipes = self.project / "container/driver-toolkit"
        built = toolkits.build_toolkits(engine, kernels, recipes, self.folder, log)
        return [{"kernel": kit.kernel, "reference": kit.reference} for kit in built]

    def _releases(self, kits: list[dict[str, str]], log: Path) -> list[dict[str, str]]:
        engine = self._engine(log, debian=False)
        recipes = self.project / "container/sandbox"
        nodes = [images.build_node(engine, kit["kernel"], recipes, self.folder, log) for kit in kits]
        found = []
        for version in sorted(self.plan.releases, key=version_key):
            index = self.plan.releases[version]
            kit, node = kits[index], nodes[index]
            payload = images.build_release(engine, version, kit["reference"], node, recipes, self.folder, log)
            found.append({
                "version": version, "arch": self.arch, "dtk": kit["reference"], "kernel": kit["kernel"],
                "payload": payload, "node_kernel": kit["kernel"],
            })
        return found

    def _engine(self, log: Path, *, debian: bool = True) -> Engine:
        engine = Engine(self.folder / "engine" / "engine.json", self.addresses())
        if debian:
            toolkits.import_debian(engine, self.folder, log)
        return engine

    def _finish(self, log: Path) -> None:
        """The Debian image has served its purpose."""
        marker = self.folder / "made.json"
        made = read_json(marker) or {}
        if not made.get("clean"):
            self._engine(log, debian=False).remove_image(toolkits.DEBIAN)
            write_atomic(marker, pretty_json({**made, "clean": True}))

    def _write(self, repository: dict[str, str], base: dict[str, object], releases: list[dict[str, str]]) -> None:
        _write_if_new(self.output / "driver-toolkit.json", pretty_json(releases))
        _write_if_new(self.output / "keys/neuron.asc", (self.folder / repository["key_file"]).read_bytes())
        _write_if_new(self.output / "keys/neuron.fingerprint", f"{repository['fingerprint']}\n".encode())
        lock = self.output / "locks/neuron.json"
        document = read_json(lock) or {"schema": 1, "packages": {}}
        _write_if_new(lock, pretty_json({**document, "base": base}))
        nodes = [{"version": entry["version"], "payload": entry["payload"], "metadata": {}} for entry in releases]
        _write_if_new(self.folder / "web/graph.json", pretty_json(nodes))

    def _repository_inputs(self) -> object:
        return [self._files("container/sandbox/standin"), self.plan.versions]

    def _toolkit_inputs(self) -> object:
        return [self._files("container/driver-toolkit"), self.plan.kernels, toolkits.SUITE, self.arch]

    def _files(self, folder: str) -> dict[str, str]:
        root = self.project / folder
        paths = root.rglob("*") if folder.endswith("standin") else root.iterdir()
        return {str(path.relative_to(root)): sha256_file(path) for path in sorted(paths) if path.is_file()}

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def _write_if_new(path: Path, data: bytes) -> None:
    if not path.exists() or path.read_bytes() != data:
        write_atomic(path, data)
