"""Toolkits: pulled only when a cell must be compiled, once for all drivers, removed when nobody needs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.harness.clone import AccessLogs, Clone
from tests.harness.refusal import no_container, refused
from tests.harness.store import cold_store


def images(store: dict[str, str]) -> list[str]:
    done = subprocess.run(
        ["podman", "images", "--format={{.Repository}}"], capture_output=True, text=True, check=True,
        env={**os.environ, **store},
    )
    return done.stdout.split()


def manifests(lines: list[str]) -> list[str]:
    """The toolkits whose manifests podman asked the registry for."""
    return sorted(
        line.split("/v2/driver-toolkit/manifests/")[1].split()[0].strip('"') for line in lines
        if "GET /v2/driver-toolkit/manifests/" in line and "containers/" in line
    )


def blobs(lines: list[str]) -> int:
    """Bytes of the blobs that the registry gave podman."""
    found = (re.search(r'"GET /v2/[^ ]+/blobs/[^ ]+ HTTP/1.1" 200 (\d+) "" "containers/', line) for line in lines)
    return sum(int(match[1]) for match in found if match)


def test_two_drivers_over_the_same_kernels(
    new_clone: Callable[[], Clone], kernels: list[str], access: AccessLogs, tmp_path: Path
) -> None:
    clone = new_clone()
    clone.edit("config/defaults.yaml", "keep_toolkits: true", "keep_toolkits: false")
    clone.write("build-matrix.json", [
        {"driver": driver, "ocp_versions": ["4.16", "4.17"]} for driver in ("2.16.7.0", "2.22.2.0")
    ])
    kernels = kernels[:2]
    catalogue = clone.catalogue()
    digests = sorted({entry["dtk"].partition("@")[2] for entry in catalogue if entry["kernel"] in kernels})
    with cold_store(tmp_path / "store") as store:
        clone.extra = store
        access.new()
        run = clone.doit("build:2.16.7.0", GITHUB_STEP_SUMMARY=str(tmp_path / "summary"))
        assert run.code == 0, run.text
        assert run.compiled == sorted(kernels)
        asked = access.new()
        assert manifests(asked) == digests
        took = json.loads((clone.build / "run.json").read_text())
        assert (took["pulled"], took["unknown"]) == (blobs(asked), 0), "layers that toolkits share were sent once"
        assert images(store).count("registry.sandbox.internal/driver-toolkit") == 2, "2.22.2.0 still needs them"
        run = clone.doit("build")
        assert run.code == 0, run.text
        assert run.compiled == sorted(kernels)
        assert manifests(access.new()) == [], "each was pulled once for both drivers"
        assert images(store) == [], "nobody needs them any more"
        run = clone.doit("build")
        assert (run.code, run.processes, access.new()) == (0, [], []), "nothing pending pulls none"


def test_a_toolkit_of_a_user_is_left_alone(copied: Clone, kernels: list[str], tmp_path: Path) -> None:
    """What was in the store before the run is not removed after it."""
    copied.edit("config/defaults.yaml", "keep_toolkits: true", "keep_toolkits: false")
    catalogue = copied.catalogue()
    toolkit = next(entry["dtk"] for entry in catalogue if entry["kernel"] == kernels[0])
    state = json.loads((copied.services / "state.json").read_text())
    address = f"127.0.0.1:{state['registry']['port']}"
    conf = tmp_path / "registries.conf"
    conf.write_text(f'[[registry]]\nprefix = "registry.sandbox.internal"\nlocation = "{address}"\ninsecure = true\n')
    (copied.build / "engine/pulled.json").unlink(missing_ok=True)
    with cold_store(tmp_path / "store") as store:
        environment = {**os.environ, **store, "CONTAINERS_REGISTRIES_CONF": str(conf)}
        subprocess.run(["podman", "pull", "--quiet", toolkit], check=True, env=environment, capture_output=True)
        copied.extra = store
        (copied.cell(f"2.22.2.0-{kernels[0]}") / "neuron.ko").unlink()
        run = copied.doit("build")
        assert (run.code, run.compiled) == (0, [kernels[0]]), run.text
        assert images(store) == ["registry.sandbox.internal/driver-toolkit"]


def test_a_toolkit_that_the_registry_no_longer_has(copied: Clone, kernels: list[str]) -> None:
    catalogue = copied.catalogue()
    for entry in catalogue:
        if entry["kernel"] == kernels[0]:
            entry["dtk"] = entry["dtk"][:-64] + "0" * 64
    copied.write("build/sandbox/driver-toolkit.json", catalogue)
    (copied.cell(f"2.22.2.0-{kernels[1]}") / "neuron.ko").unlink()
    run = copied.doit("build")
    assert run.code == 1
    assert run.compiled == [kernels[1]], "the other cells are built all the same"
    for driver in ("2.16.7.0", "2.22.2.0"):
        refused(copied, run, f"module:{driver}-{kernels[0]}", 1, "image-missing", "0" * 64,
                hint="still in its registry")
    no_container(copied)


def test_prune_removes_what_runs_pulled_and_nothing_else(
    copied: Clone, kernels: list[str], tmp_path: Path
) -> None:
    catalogue = copied.catalogue()
    state = json.loads((copied.services / "state.json").read_text())
    conf = tmp_path / "registries.conf"
    address = f"127.0.0.1:{state['registry']['port']}"
    conf.write_text(f'[[registry]]\nprefix = "registry.sandbox.internal"\nlocation = "{address}"\ninsecure = true\n')
    (copied.build / "engine/pulled.json").unlink(missing_ok=True)
    mine, theirs = (next(entry["dtk"] for entry in catalogue if entry["kernel"] == one) for one in kernels[:2])
    with cold_store(tmp_path / "store") as store:
        copied.extra = store
        environment = {**os.environ, **store, "CONTAINERS_REGISTRIES_CONF": str(conf)}
        subprocess.run(["podman", "pull", "--quiet", theirs], check=True, env=environment, capture_output=True)
        run = copied.doit(f"module:2.22.2.0-{kernels[0]}", FORCE_BUILD="true")
        assert run.code == 0, run.text
        shown = copied.doit("prune", "--dry-run")
        assert shown.code == 0
        assert f"would remove image {mine}" in shown.out
        assert theirs not in shown.out
        assert len(images(store)) == 2
        done = copied.doit("prune")
        assert f"removed image {mine}" in done.out
        left = subprocess.run(["podman", "images", "--digests", "--format={{.Repository}}@{{.Digest}}"],
                              capture_output=True, text=True, check=True, env={**os.environ, **store}).stdout.split()
        assert left == [theirs]
        assert copied.doit("prune").out == "0.0 MB freed\n"
