"""Reproducible: two clones, two paths, two cold podman stores give equal modules, config digests and diff_ids."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from foundry.base.files import sha256_file
from tests.bench.figure import Figure, yes
from tests.bench.parts import DRIVER, clone_for, done, kernels, sandbox
from tests.harness.clone import Clone
from tests.harness.store import cold_store

KERNELS = 2
PLACES = ("a", "elsewhere/and/deeper")


def measure(folder: Path) -> Iterator[Figure]:
    """Yes when every result is the same in both clones."""
    with sandbox(folder) as services:
        wanted = dict(list(kernels(services).items())[-KERNELS:])
        results = []
        for place in PLACES:
            clone = clone_for(folder / place / "clone", services, list(wanted.values()))
            with cold_store(folder / place / "store") as store:
                clone.extra = store
                run = done(clone.doit(f"build:{DRIVER}"))
            if run.compiled != sorted(wanted):
                raise RuntimeError(f"compiled for {run.compiled}, not {sorted(wanted)}")
            results.append({fact: value for kernel in wanted for fact, value in _results(clone, kernel).items()})
    first, second = results
    differing = sorted(fact for fact in first if first[fact] != second[fact])
    yield yes("reproducible in two clones and stores", not differing, ", ".join(differing) or f"{KERNELS} kernels")


def _results(clone: Clone, kernel: str) -> dict[str, object]:
    cell = f"{DRIVER}-{kernel}"
    record = clone.record(cell, "image")
    return {
        f"module {kernel}": sha256_file(clone.cell(cell) / "neuron.ko"),
        f"config digest {kernel}": record["config_digest"], f"diff_ids {kernel}": record["diff_ids"],
    }
