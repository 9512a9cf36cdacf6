"""Same inputs, same bytes: two clones, two paths, two cold podman stores."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.harness.clone import Clone
from tests.harness.quick_driver import take_own
from tests.harness.store import cold_store

SAME = ("digest", "config_digest", "diff_ids", "key", "outputs")


def test_two_clones_in_two_cold_stores(new_clone: Callable[[], Clone], kernels: list[str], tmp_path: Path) -> None:
    cells = [f"2.22.2.0-{kernel}" for kernel in (kernels[0], kernels[-1])]
    clones = [new_clone(), new_clone()]
    for clone in clones:
        take_own(clone)  # several files: make compiles them in whatever order
    deeper = clones[1].root.parent / "quite another, and deeper" / "place"
    deeper.parent.mkdir()
    shutil.move(clones[1].root, deeper)
    clones[1].root = deeper
    for number, clone in enumerate(clones):
        with cold_store(tmp_path / f"store{number}") as store:
            clone.extra = store
            run = clone.doit("-n", str(number + 1), *(f"image:{cell}" for cell in cells))
            assert run.code == 0, run.text
            assert len(run.compiled) == 2
    for cell in cells:
        first, second = (clone.record(cell, "image") for clone in clones)
        assert {name: first[name] for name in SAME} == {name: second[name] for name in SAME}
        for name in ("neuron.ko", "image.oci.tar", "module.json", "image.json"):
            assert (clones[0].cell(cell) / name).read_bytes() == (clones[1].cell(cell) / name).read_bytes()
