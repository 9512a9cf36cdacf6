"""What this machine needs so that podman starts a container: tried out, with real containers.

Plain machines need no settings. Confined ones (no CAP_SYS_RESOURCE, hybrid
cgroups, a storage driver that can't be used) need one of a short list.
"""

from __future__ import annotations

import itertools
import os
import platform
import re
import resource
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from foundry.base.errors import FoundryError, OutsideError
from foundry.base.files import scratch, sha256_bytes
from foundry.base.process import Completed, run
from foundry.base.reasons import Reason

# A hard limit that every confined machine seen so far grants its containers.
_LIMITS = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=4096:4096")
_PROBE_TIMEOUT = 120.0
MEMORY, PROCESSES = "memory", "processes"
_PROBED = {MEMORY: 1 << 27, PROCESSES: 12345}  # bytes, and processes: what nobody sets by itself
_SAID_BY = {  # files of cgroups, version 2 and 1 (Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/)
    MEMORY: ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"),
    PROCESSES: ("/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"),
}
# Characters. Before 5.1 podman takes a longer `runroot` from storage.conf, but not as the option that it hands to
# the process that cleans up after a container; `podman run` waits 20 s for that process, then cleans up itself
# (runtime_libpod.go and Container.WaitForExit; the limit went with podman's commit fcf9327773).
LONGEST_RUNROOT = 50
_NO_LIMIT_SINCE = (5, 1)


@dataclass(frozen=True)
class EngineSettings:
    """Arguments for `podman` itself, and for those of its verbs that start containers."""

    global_args: tuple[str, ...] = ()
    run_args: tuple[str, ...] = ()
    build_args: tuple[str, ...] = ()
    limits: tuple[str, ...] = field(default=(), compare=False)  # that cgroups enforce here: MEMORY, PROCESSES

    def describe(self) -> str:
        """What was chosen, for people."""
        words = list(self.global_args)
        for verb, args in (("run", self.run_args), ("build", self.build_args)):
            words += [verb, *args] if args else []
        return " ".join(words) or "podman's own settings"

    def of(self, verb: str) -> tuple[str, ...]:
        """What follows the verb."""
        return {"run": self.run_args, "create": self.run_args, "build": self.build_args}.get(verb, ())


def find_out(folder: Path, name: str, build_mark: str) -> EngineSettings:
    """The first settings of the list with which ``run`` and the ``RUN`` of a build start a container; two seconds.

    Containers are called `name`, builds have the argument `build_mark`. Where no build can start a container, that is
    said: images of modules need none, those of toolkits do.

    Raises OutsideError: podman is missing, or no settings help.
    """
    if shutil.which("podman") is None:
        raise OutsideError(
            "podman is not installed", reason=Reason.TOOL_MISSING,
            hint="run `doit doctor`: it prints the command that installs it",
        )
    failures: list[str] = []
    found, unbuilt = None, ""
    with scratch(folder, "probe") as work:
        storage = _storage_args(failures)
        for runtime, limits, cgroups in itertools.product((None, "runc", "crun"), (False, True), (False, True)):
            if runtime and shutil.which(runtime) is None:
                continue
            settings = _candidate(storage, runtime, limits, cgroups)
            if not _starts(work, name, settings, failures):
                continue
            build_args = next(
                (args for args in ((), _LIMITS) if _builds(work, settings, (build_mark, *args), failures)), None)
            if build_args is not None:
                found, unbuilt = replace(settings, build_args=build_args), ""
                break
            found, unbuilt = found or settings, failures[-1]
        if found is None:
            raise OutsideError(
                f"podman can't start a container on this machine: {failures[-1] if failures else 'no reason given'}",
                reason=Reason.PODMAN_CANNOT_START,
                hint="on Debian `apt-get install runc` often helps",
            )
        if unbuilt:
            print(f"podman: `RUN` in a Containerfile does not work on this machine, which toolkits and the sandbox "
                  f"need: {unbuilt}", file=sys.stderr)
        _say_when_runroot_is_long(storage)
        return replace(found, limits=_limits(work, name, found))


def machine() -> str:
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
    if cgroups:
        global_args = (*global_args, "--cgroup-manager=cgroupfs")
    return EngineSettings(global_args, _LIMITS if limits else ())


def _storage_args(failures: list[str]) -> tuple[str, ...]:
    for args in ((), ("--storage-driver=vfs",)):
        done = run(["podman", *args, "info", "--format", "{{.Store.GraphDriverName}}"], check=False,
                   timeout=_PROBE_TIMEOUT)
        if done.returncode == 0:
            return args
        failures.append(done.stderr.strip()[-300:])
    return ()


def _say_when_runroot_is_long(storage: tuple[str, ...]) -> None:
    done = run(["podman", *storage, "info", "--format", "{{.Version.Version}} {{.Store.RunRoot}}"], check=False,
               timeout=_PROBE_TIMEOUT)
    version, _, runroot = done.stdout.strip().partition(" ")
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if numbers and numbers < _NO_LIMIT_SINCE and len(runroot) > LONGEST_RUNROOT:
        print(
            f"podman: every compile takes 20 s longer on this machine: {runroot} has more than {LONGEST_RUNROOT} "
            f"characters; name a shorter `runroot` in storage.conf, or use podman 5.1", file=sys.stderr,
        )


def _starts(folder: Path, name: str, settings: EngineSettings, failures: list[str]) -> bool:
    return _works(lambda: _container(folder, name, settings, (), "/usr/bin/true"), failures)


def _builds(folder: Path, settings: EngineSettings, args: tuple[str, ...], failures: list[str]) -> bool:
    """Whether a build's ``RUN`` starts a container; the image is removed again."""
    _probe_root(folder)
    (folder / "Containerfile").write_text('FROM scratch\nCOPY root /\nRUN ["/usr/bin/true"]\n', encoding="utf-8")
    made = folder / "iid"
    works = _works(lambda: run(
        ["podman", *settings.global_args, "build", *args, "--quiet", "--layers=false", "--force-rm", "--pull=never",
         "--network=none", "--security-opt=label=disable", "--volume=/usr:/usr:ro", f"--iidfile={made}", str(folder)],
        check=False, timeout=_PROBE_TIMEOUT, patient=True,
    ), failures)
    if made.exists():
        run(["podman", *settings.global_args, "image", "rm", "--force", made.read_text(encoding="utf-8")], check=False)
    return works


def _works(try_it: Callable[[], Completed], failures: list[str]) -> bool:
    try:
        done = try_it()
    except FoundryError as error:  # it hangs: the next settings may not
        failures.append(error.message)
        return False
    if done.returncode != 0:
        failures.append(done.stderr.strip()[-300:])
    return done.returncode == 0


def memory_arguments(size: int) -> tuple[str, ...]:
    """What ``podman run`` gets for a limit of memory in bytes, without swap."""
    return f"--memory={size}", f"--memory-swap={size}"


def processes_arguments(most: int) -> tuple[str, ...]:
    """What ``podman run`` gets for a limit of processes."""
    return (f"--pids-limit={most}",)


def _limits(folder: Path, name: str, settings: EngineSettings) -> tuple[str, ...]:
    """Which limits a container has that is started with them: podman leaves out some without a word."""
    found = []
    for limit, arguments in ((MEMORY, memory_arguments), (PROCESSES, processes_arguments)):
        with suppress(FoundryError):
            done = _container(folder, name, settings, arguments(_PROBED[limit]), "/bin/cat", *_SAID_BY[limit])
            if str(_PROBED[limit]) in done.stdout.split():
                found.append(limit)
    return tuple(found)


def _container(
    folder: Path, name: str, settings: EngineSettings, arguments: Sequence[str], *command: str
) -> Completed:
    """Start a real container on a root that borrows this machine's /usr: no image is needed."""
    return run(
        ["podman", *settings.global_args, "run", *settings.run_args, *arguments, f"--name={name}", "--replace",
         "--rm", "--network=none",
         "--security-opt=label=disable", "--volume=/usr:/usr:ro", "--rootfs", str(_probe_root(folder)), *command],
        check=False, timeout=_PROBE_TIMEOUT,
    )


def _probe_root(folder: Path) -> Path:
    root = folder.absolute() / "root"
    for name in ("usr", "proc", "sys", "dev", "etc", "tmp"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        with suppress(FileExistsError):
            (root / name).symlink_to(f"usr/{name}")
    return root

