"""From nothing, toolkits present: at most the bare `make` of the same modules, plus 1.5 s a cell.

The bare `make` runs in the same toolkits with the same limits, mounts of its
own, as many at once and with as many jobs as doit gave to each; its sources are
patched before the clock starts. doit's time is that of the whole command in a
fresh clone: fetch, verify, unpack, compile, gate, depmod, image.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from foundry.base.files import remove_tree
from foundry.config import patches
from foundry.config.load import load_config
from foundry.config.profile import Profile
from foundry.plan.state import States
from tests.bench.figure import Figure, at_most
from tests.bench.parts import DRIVER, clone_for, done, images_present, kernels, sandbox
from tests.harness.clone import Clone, Run

SECONDS_A_CELL = 1.5
TIMES = 3
_MAKE = (
    'kernel_build=/lib/modules/$KERNEL/build; [ -e "$kernel_build/Makefile" ] || kernel_build=/usr/src/kernels/$KERNEL;'
    ' exec make -C "$kernel_build" M=/foundry/work -j "$JOBS" modules'
)


def measure(folder: Path) -> Iterator[Figure]:
    """Wall time of `doit build`, in bare makes plus 1.5 s a cell; both at their best."""
    slots = min(8, len(os.sched_getaffinity(0)))
    with sandbox(folder) as services, images_present(folder, services):
        releases = kernels(services)
        builds, bares = [], []
        for number in range(TIMES):
            clone = clone_for(folder / f"clone{number}", services, list(releases.values()))
            started = time.perf_counter()
            run = done(clone.doit("-n", str(slots), "build"))
            builds.append(time.perf_counter() - started)
            bares.append(_bare(folder / f"bare{number}", clone, run, slots))
            remove_tree(clone.root)
    cells = len(releases)
    build, bare = min(builds), min(bares)
    yield at_most(
        f"from nothing / (make + {SECONDS_A_CELL} s a cell)", build / (bare + SECONDS_A_CELL * cells), 1.0,
        detail=f"{cells} cells: {build:.1f} s, make {bare:.1f} s, {(build - bare) / cells:.2f} s a cell more",
    )


def _bare(folder: Path, clone: Clone, run: Run, slots: int) -> float:
    """Seconds that `make` alone takes for the modules that the run compiled."""
    compiles = [argv for argv in run.podman("run") if "compile" in argv]
    trees = _patched_trees(folder, clone)
    if len(compiles) != len(trees):
        raise RuntimeError(f"{len(compiles)} compiles for {len(trees)} cells")
    commands = [_bare_command(argv, trees) for argv in compiles]
    started = time.perf_counter()
    with ThreadPoolExecutor(slots) as pool:
        list(pool.map(_run, commands))
    seconds = time.perf_counter() - started
    missing = [kernel for kernel, tree in trees.items() if not (tree / "neuron.ko").is_file()]
    if missing:
        raise RuntimeError(f"the bare make left no module for {', '.join(missing)}")
    return seconds


def _patched_trees(folder: Path, clone: Clone) -> dict[str, Path]:
    """Each kernel's own copy of the sources, patched as the cell's."""
    states = States(load_config(clone.root, Profile("sandbox", "bench")))
    trees = {}
    for cell in states.plan.cells:
        tree = trees[cell.kernel] = folder / cell.kernel
        shutil.copytree(clone.build / "sources" / DRIVER / "tree", tree, symlinks=True)
        for path in [tree, *tree.rglob("*")]:
            path.chmod(path.stat().st_mode | 0o200)
        for patch in patches.applying(cell.family.patches, cell.driver, cell.kernel):
            patches.apply(patch, tree)
    return trees


def _bare_command(argv: Sequence[str], trees: dict[str, Path]) -> list[str]:
    """The compile's podman command with `make` alone in place of the build script."""
    prefix = "--env=KERNEL="
    kernel = next(word.removeprefix(prefix) for word in argv if word.startswith(prefix))
    options = argv[argv.index("run") + 1:argv.index("/foundry/build-module.sh")]
    kept = [word for word in options if not word.startswith(("--name=", "--mount=", "--label=", "--user="))]
    mount = f"--volume={trees[kernel]}:/foundry/work:rw"
    return [*argv[:argv.index("run") + 1], mount, *kept, "-c", _MAKE]


def _run(argv: Sequence[str]) -> None:
    finished = subprocess.run(argv, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise RuntimeError(f"the bare make failed: {(finished.stdout + finished.stderr)[-2000:]}")
