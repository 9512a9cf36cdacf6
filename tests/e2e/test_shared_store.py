"""Two checkouts of one user work in podman's one store at the same time and don't hurt each other."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from tests.harness.clone import Clone

DRIVER = "2.22.2.0"


def test_two_checkouts_build_the_same_cells_at_once(
    built: Clone, new_clone: Callable[[], Clone], kernels: list[str]
) -> None:
    """Same images, same toolkits; each clone drops its toolkits when it is done with them."""
    clones = [new_clone(), new_clone()]
    cell = f"{DRIVER}-{kernels[0]}"
    for clone in clones:
        clone.copy_state(built, "cells", "sources", "locks", "engine")
        clone.edit("config/defaults.yaml", "keep_toolkits: true", "keep_toolkits: false")
        (clone.cell(cell) / "neuron.ko").unlink()
        for kernel in kernels:
            (clone.cell(f"{DRIVER}-{kernel}") / "image.json").unlink()
    runs = [
        subprocess.Popen(clone.command("build"), cwd=clone.root, env=clone.environment(), stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True)
        for clone in clones
    ]
    for run in runs:
        printed = run.communicate(timeout=300)[0]
        assert run.returncode == 0, printed
    for clone in clones:
        for kernel in kernels:
            name = f"{DRIVER}-{kernel}"
            assert clone.record(name, "image") == built.record(name, "image")
