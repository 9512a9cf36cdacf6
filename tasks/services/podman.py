"""podman, and what this machine needs so that a container starts.

Plain machines need no settings. Confined ones (no CAP_SYS_RESOURCE, hybrid
cgroups, a storage driver that can't be used) do: the engine tries out, once per
machine, which of a short list of settings lets a container really start, keeps
the answer in a file and says what it chose.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import resource
import shutil
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tasks.core.errors import FoundryError, OutsideError
from tasks.core.files import pretty_json, read_json, scratch, sha256_bytes, write_atomic
from tasks.services.process import Completed, run, run_even_when_stopping

# A hard limit that every confined machine seen so far grants its containers.
_MODEST_ULIMITS = ("nofile=1024:1024", "nproc=4096:4096")
_PROBE_TIMEOUT = 120.0


@dataclass(frozen=True)
class EngineSettings:
    """Arguments for `podman` itself and for its `run` and `build`."""

    global_args: tuple[str, ...] = ()
    start_args: tuple[str, ...] = ()

    def describe(self) -> str:
        """What was chosen, for people."""
        chosen = " ".join((*self.global_args, *self.start_args))
        return chosen or "podman's own settings"


@dataclass
class Engine:
    """podman with the settings that this machine takes.

    `state` is where the verdict is kept; `registries` maps a registry name to
    the loopback address where it is served (see `registries_conf`).
    """

    state: Path
    registries: Mapping[str, str] = field(default_factory=dict)
    _containers: set[str] = field(default_factory=set)
    _settings: EngineSettings | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def settings(self) -> EngineSettings:
        """What this machine takes; finds out the first time, in about a second.

        Raises OutsideError (podman missing, or unable to start a container).
        """
        with self._lock:
            if self._settings is None:
                self._settings = self._remembered() or self._find_out()
            return self._settings

    def call(
        self,
        *args: str,
        log: Path | None = None,
        timeout: float = 3600.0,
        check: bool = True,
        starts: bool = False,
        hint: str = "",
        reason: str = "podman-failed",
        stdin: bytes = b"",
    ) -> Completed:
        """``podman <args>``; with `starts`, the settings for starting containers follow the verb."""
        return run(
            self.command(*args, starts=starts), log=log, timeout=timeout, check=check,
            env=self.environment(), hint=hint, reason=reason, stdin=stdin,
        )

    def command(self, *args: str, starts: bool = False) -> list[str]:
        """The whole argument list, as it would be run."""
        settings = self.settings()
        extra = settings.start_args if starts else ()
        return ["podman", *settings.global_args, args[0], *extra, *args[1:]]

    def environment(self) -> dict[str, str]:
        """What podman needs in its environment: the registry addresses of the profile."""
        if not self.registries:
            return {}
        conf = self.state.parent / "registries.conf"
        text = registries_conf(self.registries).encode()
        if not conf.exists() or conf.read_bytes() != text:
            write_atomic(conf, text)
        return {"CONTAINERS_REGISTRIES_CONF": str(conf.absolute())}

    def has_image(self, reference: str) -> bool:
        """True when the local store has the image; False only when podman says that it has not."""
        done = self.call("image", "exists", reference, check=False)
        if done.returncode not in (0, 1):
            raise FoundryError(
                f"podman could not say whether {reference} is here: {done.stderr.strip()[:200]}",
                reason="podman-failed", hint="run `doit doctor`",
            )
        return done.returncode == 0

    def pull(self, reference: str, *, log: Path | None = None) -> None:
        """Pull an image by digest; FoundryError when the registry doesn't have it."""
        self.call(
            "pull", "--quiet", reference, log=log, reason="image-pull-failed",
            hint=f"is {reference} still in its registry, and are the credentials right? (`doit doctor`)",
        )

    def remove_image(self, reference: str) -> None:
        """Remove an image from the local store; nothing happens when it is not there or still in use."""
        self.call("image", "rm", reference, check=False)

    @property
    def label(self) -> str:
        """The label on every container of this checkout, so that leftovers can be found."""
        return f"kmod-foundry.checkout={sha256_bytes(str(self.state.absolute()).encode())[:16]}"

    @contextmanager
    def container(self, purpose: str) -> Iterator[str]:
        """A name for a container that is gone when the block ends, however it ends."""
        name = f"kmod-foundry-{os.getpid()}-{next(self._numbers)}-{sha256_bytes(purpose.encode())[:8]}"
        self._containers.add(name)
        try:
            yield name
        except Exception:
            self.remove_containers([name])
            raise
        finally:
            self._containers.discard(name)

    def containers(self) -> list[str]:
        """The containers that are at work in this run."""
        return sorted(self._containers)

    def remove_leftovers(self) -> None:
        """Remove containers that a killed run of this checkout left; only under the run's lock."""
        done = self.call("ps", "--all", "--quiet", f"--filter=label={self.label}", check=False)
        self.remove_containers(done.stdout.split())

    def remove_containers(self, names: Sequence[str]) -> None:
        """Stop and remove containers at once; works for a run that is being stopped, too."""
        if names:
            run_even_when_stopping(self.command("rm", "--force", "--ignore", "--time=0", *names), self.environment())

    def version(self) -> str:
        """The version of podman, such as ``4.3.1``."""
        return self.call("version", "--format", "{{.Client.Version}}").stdout.strip()

    # -- finding out ---------------------------------------------------------

    def _remembered(self) -> EngineSettings | None:
        kept = read_json(self.state)
        if not isinstance(kept, dict) or kept.get("machine") != _machine():
            return None
        return EngineSettings(tuple(kept["global_args"]), tuple(kept["start_args"]))

    def _find_out(self) -> EngineSettings:
        if shutil.which("podman") is None:
            raise OutsideError(
                "podman is not installed", reason="tool-missing",
                hint="run `doit doctor`: it prints the command that installs it",
            )
        failures: list[str] = []
        with scratch(self.state.parent, "probe") as folder:
            storage = _storage_args(failures)
            for runtime, limits, cgroups in itertools.product((None, "runc", "crun"), (False, True), (False, True)):
                if runtime and shutil.which(runtime) is None:
                    continue
                settings = _candidate(storage, runtime, limits, cgroups)
                if _starts(folder, settings, failures):
                    self._remember(settings)
                    return settings
        raise OutsideError(
            f"podman can't start a container on this machine: {failures[-1] if failures else 'no reason given'}",
            reason="podman-cannot-start",
            hint="`doit doctor` shows what was tried; on Debian `apt-get install runc` often helps",
        )

    def _remember(self, settings: EngineSettings) -> None:
        write_atomic(self.state, pretty_json({
            "machine": _machine(), "global_args": settings.global_args, "start_args": settings.start_args,
        }))
        if settings != EngineSettings():
            print(f"podman: this machine needs {settings.describe()}", file=sys.stderr)


def registries_conf(registries: Mapping[str, str]) -> str:
    """A containers-registries.conf that serves each name at its address.

    Format: containers-registries.conf(5). Addresses are ``host:port``; they are
    plain HTTP, which the sandbox's loopback registry speaks.
    """
    parts = ['unqualified-search-registries = []\n']
    for name, address in sorted(registries.items()):
        parts.append(
            f"[[registry]]\nprefix = {json.dumps(name)}\nlocation = {json.dumps(address)}\ninsecure = true\n"
        )
    return "\n".join(parts)


def _machine() -> str:
    """A hash over what the verdict depends on: podman, kernel, user, limits, storage settings."""
    podman = shutil.which("podman") or ""
    stat = os.stat(podman) if podman else None
    limits = [resource.getrlimit(kind) for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC)]
    facts = [
        podman, stat and stat.st_size, stat and stat.st_mtime_ns, platform.release(), os.getuid(), limits,
        os.environ.get("CONTAINERS_CONF"), os.environ.get("CONTAINERS_STORAGE_CONF"), shutil.which("runc"),
        shutil.which("crun"),
    ]
    return sha256_bytes(repr(facts).encode())


def _candidate(storage: tuple[str, ...], runtime: str | None, limits: bool, cgroups: bool) -> EngineSettings:
    global_args = (*storage, *((f"--runtime={runtime}",) if runtime else ()))
    start: list[str] = []
    if limits:
        for limit in _MODEST_ULIMITS:
            start += ["--ulimit", limit]
    if cgroups:
        global_args = (*global_args, "--cgroup-manager=cgroupfs")
    return EngineSettings(global_args, tuple(start))


def _storage_args(failures: list[str]) -> tuple[str, ...]:
    for args in ((), ("--storage-driver=vfs",)):
        done = run(["podman", *args, "info", "--format", "{{.Store.GraphDriverName}}"], check=False,
                   timeout=_PROBE_TIMEOUT)
        if done.returncode == 0:
            return args
        failures.append(done.stderr.strip()[-300:])
    return ()


def _starts(folder: Path, settings: EngineSettings, failures: list[str]) -> bool:
    """Start a real container on a root that borrows this machine's /usr: no image is needed."""
    root = _probe_root(folder)
    done = run(
        ["podman", *settings.global_args, "run", *settings.start_args, "--rm", "--network=none",
         "--security-opt=label=disable", "--volume=/usr:/usr:ro", "--rootfs", str(root), "/usr/bin/true"],
        check=False, timeout=_PROBE_TIMEOUT,
    )
    if done.returncode != 0:
        failures.append(done.stderr.strip()[-300:])
    return done.returncode == 0


def _probe_root(folder: Path) -> Path:
    root = folder.absolute() / "root"
    for name in ("usr", "proc", "sys", "dev", "etc", "tmp"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        with suppress(FileExistsError):
            (root / name).symlink_to(f"usr/{name}")
    return root

