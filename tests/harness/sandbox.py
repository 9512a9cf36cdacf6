"""The sandbox, up, in a folder of its own, and clones of the project that know it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foundry.base.filelock import locked
from tests.harness.clone import ROOT, Clone, logged_in
from tests.harness.quick_driver import quick_repository, take_quick


@contextmanager
def sandbox(place: Path) -> Iterator[Clone]:
    """A copy in `place` of the checkout's own sandbox (or of the one that KMOD_SANDBOX names), which is made once.

    Afterwards nothing is left running.
    """
    made = Path(os.environ.get("KMOD_SANDBOX", ROOT / "build" / "sandbox" / "services")).absolute()
    folder = place / "services"
    with locked(made.parent / ".tests.lock"):
        maker = Clone(place / "maker", made)
        for verb in ("up", "down"):
            done = maker.doit(f"sandbox:{verb}")
            assert done.code == 0, done.text
        shutil.copytree(made, folder, symlinks=True)
    clone = Clone(place / "clone", folder)
    done = clone.doit("sandbox:up")
    assert done.code == 0, done.text
    try:
        with quick_repository(folder), logged_in(folder):
            yield clone
    finally:
        assert clone.doit("sandbox:down").code == 0
        remove_pulled()


def remove_pulled() -> None:
    """The sandbox's images that the tests' builds pulled and kept."""
    argv = ["podman", "images", "--format={{.Repository}}@{{.Digest}}"]
    listed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    pulled = [name for name in listed if name.startswith("registry.sandbox.internal/")]
    if pulled:
        subprocess.run(["podman", "image", "rm", *pulled], capture_output=True, check=False)


def knowing_clone(services: Clone, folder: Path, matrix: object) -> Clone:
    """A clone that knows the sandbox's catalogue, base and key, what podman needs here, and keeps toolkits.

    Finding out and pulling take time, and so does compiling: it takes the quick driver.
    """
    clone = Clone(folder, services.services)
    clone.copy_state(services, "driver-toolkit.json", "locks", "keys")
    take_quick(clone)
    found_out = services.services / "engine" / "engine.json"
    if found_out.exists():
        (clone.build / "engine").mkdir(parents=True)
        shutil.copy2(found_out, clone.build / "engine" / "engine.json")
    clone.write("build-matrix.json", matrix)
    clone.edit("config/defaults.yaml", "keep_toolkits: false", "keep_toolkits: true")
    return clone
