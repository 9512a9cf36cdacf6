"""What one compile may take of this machine: memory, processes, disk.

Memory and processes are limited by cgroups where the machine has them (`foundry.podman.probe` tried). Elsewhere the
kernel limits what each process may allocate, and how many processes the user of compiles may have.
"""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.base.untrusted import allocated
from foundry.config.settings import Settings
from foundry.podman.engine import Engine
from foundry.podman.held import HeldFiles
from foundry.podman.probe import MEMORY, PROCESSES, memory_arguments, processes_arguments

_GIB = 1 << 30
_MOST_OF_THE_MACHINE = 0.75  # of its memory: a compile that took all would have others ended in its place
_LOOK_SECONDS = 1.0  # between two looks at how much was written


def budget_arguments(settings: Settings, limits: Sequence[str], *, own_user: bool, slots: int) -> list[str]:
    """What ``podman run`` gets; `limits` are those that this machine's cgroups enforce.

    `own_user`: the container's user is that of compiles alone, of which `slots` run at once.
    """
    found = ["--ulimit=core=0:0"]
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    memory = min(int(settings.compile_memory * _GIB), int(machine * _MOST_OF_THE_MACHINE))
    if memory and MEMORY in limits:
        found += memory_arguments(memory)
    elif memory:
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        most = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
        found.append(f"--ulimit=data={most}:{most}")
    if settings.compile_processes and PROCESSES in limits:
        found += processes_arguments(settings.compile_processes)
    elif settings.compile_processes and own_user:
        most = settings.compile_processes * slots
        found.append(f"--ulimit=nproc={most}:{most}")
    return found


@contextmanager
def watched(engine: Engine, container: str, folders: Sequence[Path], *, gib: float, what: str, log: Path
            ) -> Iterator[None]:
    """End the container when more than `gib` is in the folders, or in open files without a name; 0 for no limit.

    Raises FoundryError ``compile-too-large``; ``output-unsafe`` for files or folders without end.
    """
    ended, faults, held = threading.Event(), list[FoundryError | OSError](), HeldFiles(engine, container)

    def look() -> None:
        while not ended.wait(_LOOK_SECONDS):
            try:
                if gib and sum(map(allocated, folders)) + held.size() > gib * _GIB:
                    faults.append(FoundryError(
                        f"{what} wrote more than {gib} GiB", reason=Reason.COMPILE_TOO_LARGE, log=log,
                        hint="raise `compile_disk` if that is what it needs",
                    ))
            except (FoundryError, OSError) as error:  # nobody would watch any more
                faults.append(error)
            except KeyboardInterrupt:  # every command is being ended, the compile too
                return
            if faults:
                engine.remove_containers([container])
                return

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
    if faults:
        raise faults[0]
