"""The real parts of a measurement: the sandbox's services, clones that use them, images in podman's store."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from foundry.podman.engine import Engine
from tests.harness.clone import ROOT, Clone, Run, logged_in, registry_port

DRIVER = "2.22.2.0"


@contextmanager
def sandbox(folder: Path) -> Iterator[Clone]:
    """A clone that started the checkout's sandbox (or the one that KMOD_SANDBOX names); left as it was found."""
    services = Path(os.environ.get("KMOD_SANDBOX", ROOT / "build" / "sandbox" / "services")).absolute()
    clone = Clone(folder / "sandbox", services)
    was_up = (services / "state.json").exists()
    done(clone.doit("sandbox:up"))
    try:
        with logged_in(services):
            yield clone
    finally:
        if not was_up:
            done(clone.doit("sandbox:down"))


def kernels(services: Clone) -> dict[str, str]:
    """The sandbox's kernels, oldest first, each with one release that has it."""
    catalogue = services.catalogue()
    found: dict[str, str] = {}
    for entry in catalogue:
        found.setdefault(entry["kernel"], entry["version"])
    return found


def clone_for(folder: Path, services: Clone, releases: Sequence[str]) -> Clone:
    """A clone in which nothing is done yet and that wants DRIVER for the releases; it keeps its toolkits."""
    clone = Clone(folder, services.services)
    clone.copy_state(services, "driver-toolkit.json", "locks", "keys")
    clone.write("build-matrix.json", [{"driver": DRIVER, "ocp_versions": list(releases)}])
    clone.edit("config/defaults.yaml", "keep_toolkits: false", "keep_toolkits: true")
    return clone


@contextmanager
def images_present(folder: Path, services: Clone) -> Iterator[Engine]:
    """The sandbox's toolkits and base in podman's store; those that were not there before are removed again."""
    addresses = {"registry.sandbox.internal": f"127.0.0.1:{registry_port(services.services)}"}
    engine = Engine(folder / "engine" / "engine.json", addresses)
    catalogue = services.catalogue()
    missing = [name for name in {entry["dtk"] for entry in catalogue} | {base(services)} if not engine.has_image(name)]
    try:
        for name in missing:
            engine.pull(name)
        yield engine
    finally:
        for name in missing:
            engine.remove_image(name)


def base(clone: Clone) -> str:
    """The base image of a clone's lock, by digest."""
    from foundry.cell.image import base_reference

    locked = json.loads((clone.build / "locks" / "neuron.json").read_text(encoding="utf-8"))["base"]
    return base_reference(locked["name"], locked["digest"])


def done(run: Run) -> Run:
    """The run itself; RuntimeError with what it said when it failed."""
    if run.code != 0:
        raise RuntimeError(f"doit failed with exit code {run.code}: {run.text[-2000:]}")
    return run
