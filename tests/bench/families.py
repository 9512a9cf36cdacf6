"""Families: what a further one costs in code, and that toolkits are pulled once for all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import requests

from foundry.base.files import sha256_file
from tests.bench.figure import Figure, at_most
from tests.bench.parts import clone_for, done, kernels, sandbox
from tests.harness.clone import AccessLogs, Clone, registry_login, registry_port
from tests.harness.dkms_package import DRIVER, add_family
from tests.harness.sandbox import remove_pulled

_FAMILIES = {"2.22.2.0": "neuron", "0.43-3": "tp-smapi", "1.2.2-2.1": "acpi-call"}


def measure(folder: Path) -> Iterator[Figure]:
    """Lines of Python that a further family takes; pulls of each toolkit for 3 families × 3 kernels."""
    with sandbox(folder) as services:
        done(services.doit("sandbox:families"))
        releases = list(kernels(services).values())
        clone = clone_for(folder / "one", services, releases[:1])
        before = _code(clone)
        add_family(clone, folder / "package")
        clone.write("build-matrix.json", [{"driver": DRIVER, "family": "hello", "ocp_versions": releases[:1]}])
        run = done(clone.doit("build"))
        changed = [name for name, digest in _code(clone).items() if before.get(name) != digest]
        yield at_most("a further family: Python files changed", len(changed), 0, "files",
                      detail=f"{len(run.compiled)} cell built from one YAML file")
        remove_pulled()
        clone = clone_for(folder / "three", services, releases)
        clone.write("build-matrix.json", [
            {"driver": driver, "family": family, "ocp_versions": releases} for driver, family in _FAMILIES.items()])
        logs = AccessLogs(services.services)
        run = done(clone.doit("build"))
        log = "\n".join(logs.new())
        # Layers are shared, and two pulls at once may both take one: a toolkit's configuration is its own.
        pulls = {
            toolkit: len(re.findall(rf'"GET /v2/driver-toolkit/blobs/{_config_of(services, toolkit)} ', log))
            for toolkit in {entry["dtk"].rpartition("@")[2] for entry in clone.catalogue()}
        }
        yield at_most("3 families × 3 kernels: pulls of a toolkit", max(pulls.values()), 1, "",
                      detail=f"{len(run.compiled)} cells, {sum(pulls.values())} pulls of {len(pulls)} toolkits")


def _code(clone: Clone) -> dict[str, str]:
    return {str(path.relative_to(clone.root)): sha256_file(path) for path in clone.root.rglob("*.py")}





def _config_of(services: Clone, toolkit: str) -> str:
    """The digest of an image's configuration, as the sandbox's registry has it."""
    url = f"http://127.0.0.1:{registry_port(services.services)}/v2/driver-toolkit/manifests/{toolkit}"
    answer = requests.get(url, headers={"Accept": "application/vnd.oci.image.manifest.v1+json"},
                          auth=registry_login(services.services), timeout=60)
    return str(answer.json()["config"]["digest"])
