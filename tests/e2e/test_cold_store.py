"""A machine that has nothing yet, as every runner of a CI: each toolkit is pulled, used once and removed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.clone import Clone
from tests.harness.store import cold_store

DRIVER = "2.22.2.0"
ROUNDS = int(os.environ.get("KMOD_COLD_ROUNDS", "1"))  # each has a store of its own


@pytest.mark.parametrize("number", range(ROUNDS))
def test_one_driver_on_a_cold_machine(
    services: Clone, new_clone: Callable[[], Clone], kernels: list[str], tmp_path: Path, number: int
) -> None:
    """A toolkit is removed when its cell is done, while the next one, which shares layers with it, is pulled."""
    clone = new_clone()
    clone.edit("config/defaults.yaml", "keep_toolkits: true", "keep_toolkits: false")
    clone.write("build-matrix.json", [{"driver": DRIVER, "ocp_versions": ["4.16", "4.17", "4.18", "4.19"]}])
    with cold_store(tmp_path / "store") as store:
        clone.extra.update(store)
        run = clone.doit(f"build:{DRIVER}")
        assert run.code == 0, run.text
        assert len(run.podman("pull")) == len(kernels) + 1, "each toolkit and the base once"
        listed = subprocess.run(["podman", "images", "--quiet"], env={**os.environ, **store}, capture_output=True,
                                text=True, check=True)
        assert listed.stdout == "", "nothing is left"
