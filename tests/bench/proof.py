"""The proof of six cells on two cores, without KVM: at most 12 s a cell, and 45 % of the build's wall time.

The same build is timed with `proof: "off"` and with `proof: required`, from nothing with toolkits present; boots
overlap compiles of other cells, so what is measured is how much longer the whole command takes. Then nothing is to do.

The share hangs on the driver: the sandbox's stand-in compiles in half of the time of the vendor's own, with which the
share was 28 % (18 s of 64 s). Half of a guest's time is the firmware, which unpacks itself each time (docs/boot.md).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foundry.base.files import remove_tree
from tests.bench.figure import Figure, at_most, yes
from tests.bench.parts import DRIVER, clone_for, done, images_present, kernels, sandbox
from tests.harness.clone import Clone

DRIVERS = (DRIVER, "2.28.0.0")
CELLS, CORES, TIMES = 6, 2, 2
SECONDS_A_CELL, SHARE = 12.0, 0.45


def measure(folder: Path) -> Iterator[Figure]:
    """What the proof adds to `doit build`: seconds a cell, and its share of the build with it; both at their best."""
    with sandbox(folder) as services, images_present(folder, services), _cores(CORES):
        releases = list(kernels(services).values())
        times: dict[bool, list[float]] = {False: [], True: []}
        for number in range(TIMES):
            for proven in (False, True):
                clone = _clone(folder / f"clone{number}", services, releases, proven=proven)
                started = time.perf_counter()
                run = done(clone.doit("-n", str(CORES), "build"))
                times[proven].append(time.perf_counter() - started)
                if len(run.compiled) != CELLS or run.booted != (CELLS if proven else 0):
                    raise RuntimeError(f"{len(run.compiled)} compiles and {run.booted} boots of {CELLS} cells")
                if not proven or number < TIMES - 1:
                    remove_tree(clone.root)
        idle = done(clone.doit("build"))
    without, together = min(times[False]), min(times[True])
    detail = f"{CELLS} cells: {together:.1f} s, without proofs {without:.1f} s"
    yield at_most("proof, more a cell", (together - without) / CELLS, SECONDS_A_CELL, "s", detail)
    yield at_most("proof, of the build's wall time", (together - without) / together * 100, SHARE * 100, "%", detail)
    yield yes("proof, nothing to do: no process", not idle.processes and not idle.connections)


def _clone(folder: Path, services: Clone, releases: list[str], *, proven: bool) -> Clone:
    """A clone for the cells, whose guests run without KVM."""
    clone = clone_for(folder, services, releases)
    clone.write("build-matrix.json", [{"driver": driver, "ocp_versions": releases} for driver in DRIVERS])
    if proven:
        clone.prove("required")
    started = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    clone.write("build/sandbox/boot/accelerator.json", json.dumps({"boot": started, "use": "tcg", "why": "measured"}))
    return clone


@contextmanager
def _cores(count: int) -> Iterator[None]:
    """Programs that are started meanwhile have so many cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
