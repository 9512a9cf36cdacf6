"""A clone of the project in a folder of its own, and runs of doit in it that are watched.

A run's processes and connections are counted by an audit hook inside Python
(tests/harness/audit), the servers' side by their access logs.
"""

from __future__ import annotations

import base64
import compileall
import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
AUDIT = Path(__file__).parent / "audit"
TIMEOUT = 900
OF_TERMINALS = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")  # which decide what a run prints
_UNSET = (*OF_TERMINALS, "KMOD_PROFILE", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "FORCE_BUILD", "AWS_PROFILE",
          "KMOD_ECR_REPOSITORY_NAME", "PYTHONPATH", "REGISTRY_AUTH_FILE", "MAKEFLAGS", "MFLAGS", "MAKELEVEL")


@dataclass(frozen=True)
class Run:
    """A finished run of doit and what it did."""

    code: int
    out: str
    err: str
    processes: list[list[str]] = field(repr=False)
    connections: list[str] = field(repr=False)

    @property
    def text(self) -> str:
        """Everything that a user saw."""
        return self.out + self.err

    def podman(self, verb: str) -> list[list[str]]:
        """The podman commands of one verb."""
        return [argv for argv in self.processes if argv[0] == "podman" and verb in argv[1:3]]

    @property
    def compiled(self) -> list[str]:
        """The kernels that were compiled for, one for each compile container."""
        return sorted(
            word.removeprefix("--env=KERNEL=") for argv in self.podman("run") if "compile" in argv for word in argv
            if word.startswith("--env=KERNEL=")
        )

    @property
    def booted(self) -> int:
        """How many guests ran; whether KVM works is tried without an initramfs."""
        return sum(argv[0].startswith("qemu-system-") and "-initrd" in argv for argv in self.processes)

    @property
    def imaged(self) -> int:
        """How many images were built."""
        return len(self.podman("build"))


class Clone:
    """The tracked files of the project, copied; the profile is `sandbox`, its services are shared."""

    def __init__(self, folder: Path, services: Path) -> None:
        self.root = folder
        self.services = services
        self.extra: dict[str, str] = {}
        self.profile = "sandbox"
        names = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True,
            check=True, text=True,
        ).stdout.split("\0")
        for name in filter(None, names):
            if name.startswith("tests/") or not (ROOT / name).is_file():
                continue
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
        for name in _byte_code():
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
        # what one clone publishes is not there for another
        self.repository = f"test-{uuid.uuid4().hex[:12]}"
        self.edit("config/profiles/sandbox.yaml", 'repository: "{family}-driver"', f"repository: {self.repository}")
        self.edit("config/profiles/sandbox.yaml", "repository: toolkits", f"repository: {self.repository}-dtk")
        self.edit("config/defaults.yaml", "proof: wanted", 'proof: "off"')  # tests of proofs want them

    def environment(self, **changes: str) -> dict[str, str]:
        """The environment of a run: nothing of the caller's that would change the profile."""
        kept = {name: value for name, value in os.environ.items() if name not in _UNSET}
        docker = self.services / "docker"
        if self.profile != "sandbox" and docker.is_dir():  # the sandbox knows the password of its registry itself
            kept["DOCKER_CONFIG"] = str(docker)
        return {
            **kept, "KMOD_PROFILE": self.profile, "KMOD_SANDBOX": str(self.services),
            "PYTHONPATH": str(AUDIT), "PYTHONDONTWRITEBYTECODE": "1", **self.extra, **changes,
        }

    def command(self, *args: str) -> list[str]:
        """The argument list of ``doit <args>``."""
        return [sys.executable, "-m", "doit", *args]

    def doit(self, *args: str, **changes: str) -> Run:
        """Run doit to its end."""
        audit = self.root / ".audit"
        audit.unlink(missing_ok=True)
        done = subprocess.run(
            self.command(*args), cwd=self.root, capture_output=True, text=True, timeout=TIMEOUT, check=False,
            env=self.environment(KMOD_TEST_AUDIT=str(audit), **changes),
        )
        lines = audit.read_text(encoding="utf-8").splitlines() if audit.exists() else []
        events = [json.loads(line) for line in lines]
        return Run(
            done.returncode, done.stdout, done.stderr, [what for kind, what in events if kind == "process"],
            [what for kind, what in events if kind == "connection"],
        )

    def status(self) -> dict[str, dict[str, Any]]:
        """``doit status --json`` by cell name."""
        done = self.doit("status", "--json")
        assert done.code == 0, done.text
        return {f"{row['driver']}-{row['kernel']}": row for row in json.loads(done.out)}

    def copy_state(self, other: Clone, *names: str) -> None:
        """Take parts of another clone's ``build/sandbox``."""
        for name in names:
            source, dest = other.build / name, self.build / name
            dest.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, dest, symlinks=True, dirs_exist_ok=True)
            elif source.exists():
                shutil.copy2(source, dest)

    @property
    def build(self) -> Path:
        """``build/<profile>``."""
        return self.root / "build" / self.profile

    def checkout(self, folder: Path) -> Clone:
        """A fresh checkout of the same project as it is configured here: no ledger, nothing built."""
        fresh = Clone(folder, self.services)
        shutil.copytree(self.root, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("build", ".audit"))
        fresh.repository, fresh.profile, fresh.extra = self.repository, self.profile, dict(self.extra)
        if self.profile == "sandbox":  # whose catalogue and locks are made, not tracked
            fresh.copy_state(self, "driver-toolkit.json", "locks", "keys")
        return fresh

    def use_profile(self, name: str, addresses: Mapping[str, str]) -> None:
        """Go on with a real profile: its own targets, at other addresses; the sandbox's inputs, and what was built."""
        config = self.root / "config" / "profiles"
        sandbox = yaml.safe_load((config / "sandbox.yaml").read_text())
        mine = yaml.safe_load((config / f"{name}.yaml").read_text())
        families = sandbox["families"]
        families["neuron"]["signing"]["fingerprint_file"] = "keys/neuron.fingerprint"
        state = json.loads((self.services / "state.json").read_text())
        served = {f"{name}.sandbox.internal": state[name]["address"] for name in ("registry", "web")}
        mine |= {"families": families, "addresses": {**served, **addresses}}
        if "github_repository" in mine:
            mine["github_repository"] = "acme/images"  # as tests.harness.github has it
        (config / f"{name}.yaml").write_text(yaml.safe_dump(mine))
        shutil.copytree(self.build / "keys", self.root / "keys")
        shutil.copytree(self.build / "locks", self.root / "config" / "locks", dirs_exist_ok=True)
        shutil.copy2(self.build / "driver-toolkit.json", self.root / "driver-toolkit" / "driver-toolkit.json")
        old, self.profile = self.build, name
        for part in ("cells", "sources", "engine"):
            if (old / part).exists():
                shutil.copytree(old / part, self.build / part, symlinks=True, dirs_exist_ok=True)

    def prove(self, proof: str) -> None:
        """Want proofs from now on: ``wanted`` or ``required``."""
        self.edit("config/defaults.yaml", 'proof: "off"', f"proof: {proof}")

    def catalogue(self) -> list[dict[str, Any]]:
        """The releases that are known here."""
        file = self.build if self.profile == "sandbox" else self.root / "driver-toolkit"
        found: list[dict[str, Any]] = json.loads((file / "driver-toolkit.json").read_text(encoding="utf-8"))
        return found

    def copy_lock(self, family: str, other: str) -> None:
        """Give another family the base that one has."""
        locks = self.build / "locks"
        document = json.loads((locks / f"{family}.json").read_text(encoding="utf-8"))
        (locks / f"{other}.json").write_text(json.dumps({**document, "packages": {}}), encoding="utf-8")

    def cell(self, name: str) -> Path:
        """A cell's folder."""
        return self.build / "cells" / name

    def record(self, cell: str, stage: str) -> dict[str, Any]:
        """A cell's record."""
        found: dict[str, Any] = json.loads((self.cell(cell) / f"{stage}.json").read_text(encoding="utf-8"))
        return found

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text in a file; it must be there."""
        path = self.root / name
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in {name}"
        path.write_text(text.replace(old, new), encoding="utf-8")

    def write(self, name: str, value: object) -> None:
        """Write a text, or any other value as JSON."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value if isinstance(value, str) else json.dumps(value, indent=2), encoding="utf-8")


@cache
def _byte_code() -> list[str]:
    """The project's byte code, made once, relative to the root: else each run in a clone would compile it again."""
    sources = [path for package in ("foundry", "tasks") for path in (ROOT / package).rglob("*.py")]
    for source in sources:
        compileall.compile_file(source, quiet=2)
    made = [Path(cache_from_source(str(source))) for source in sources]
    return [str(path.relative_to(ROOT)) for path in made if path.exists()]


def registry_port(services: Path) -> int:
    """The port of the sandbox's registry."""
    state = json.loads((services / "state.json").read_text(encoding="utf-8"))
    return int(state["registry"]["port"])


def registry_login(services: Path) -> tuple[str, str]:
    """User and password of the sandbox's registry."""
    auths = json.loads((services / "auth.json").read_text(encoding="utf-8"))["auths"]
    user, _, password = base64.b64decode(auths["registry.sandbox.internal"]["auth"]).decode().partition(":")
    return user, password


@contextmanager
def logged_in(services: Path) -> Iterator[None]:
    """The registry's password as a user would have it: for podman and skopeo here, and for clones' other profiles."""
    docker = services / "docker"
    docker.mkdir(exist_ok=True)
    (docker / "config.json").unlink(missing_ok=True)
    (docker / "config.json").symlink_to("../auth.json")
    before = os.environ.get("REGISTRY_AUTH_FILE")
    os.environ["REGISTRY_AUTH_FILE"] = str(services / "auth.json")
    try:
        yield
    finally:
        os.environ.pop("REGISTRY_AUTH_FILE")
        if before is not None:
            os.environ["REGISTRY_AUTH_FILE"] = before


class AccessLogs:
    """The requests that the sandbox's servers answered since the last look; the registry asks all for its password."""

    def __init__(self, services: Path) -> None:
        self.files = [services / "registry.log", services / "web-access.log"]
        self.seen = [0, 0]
        self.new()

    def new(self) -> list[str]:
        """The lines since the last look."""
        fresh: list[str] = []
        for index, path in enumerate(self.files):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
            fresh += [line for line in lines[self.seen[index]:] if "HTTP/" in line and '" 401 ' not in line]
            self.seen[index] = len(lines)
        return fresh
