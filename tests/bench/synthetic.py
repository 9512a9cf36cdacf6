"""A clone with a made-up catalogue, lock and matrix in the profile `local`, and records as if all were built.

The records come from the project's own functions and are checked against their
schemas; the files that they name are there, small, and as many as real cells have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foundry.base.names import KEY_LABEL
from foundry.base.records import input_facts, output_facts, read_record, write_record
from foundry.cell import image, module
from foundry.config.load import load_config
from foundry.config.profile import Profile
from foundry.driver import source
from foundry.plan.cells import Cell
from foundry.plan.keys import CellKey, cell_key
from foundry.plan.why import Why
from foundry.run.context import Foundry, make_foundry
from tests.harness.clone import Clone

PROFILE = "local"
_DEPMOD = (
    "alias", "alias.bin", "builtin", "builtin.alias.bin", "builtin.bin", "builtin.modinfo", "dep", "dep.bin",
    "devname", "softdep", "symbols", "symbols.bin",
)
_MINORS = 8  # 4.12 to 4.19
_PACKAGE = "package.rpm"
_PACKAGE_BYTES, _TAR_BYTES = 300_000, 2_000_000  # about what the vendor's have


def drivers_of(number: int) -> list[str]:
    """So many made-up versions of the driver."""
    return [f"2.{10 + one}.{one % 7}.0" for one in range(number)]


def synthetic_clone(folder: Path, drivers: Sequence[str], *, releases: int, kernels: int) -> Clone:
    """A clone whose matrix wants every driver for every release; the releases share the kernels evenly."""
    clone = Clone(folder, folder / "no-services")
    clone.extra = {"KMOD_PROFILE": PROFILE, "PYTHONDONTWRITEBYTECODE": ""}
    clone.write("driver-toolkit/driver-toolkit.json", [_entry(n, n * kernels // releases) for n in range(releases)])
    clone.write("config/locks/neuron.json", _lock(drivers))
    minors = sorted({_release(number).rpartition(".")[0] for number in range(releases)})
    clone.write("build-matrix.json", [{"driver": driver, "ocp_versions": minors} for driver in drivers])
    return clone


def timed_environment(clone: Clone) -> dict[str, str]:
    """The environment of a measured run: without the audit hook, which takes time itself."""
    return clone.environment(PYTHONPATH=str(clone.root))


def fill(clone: Clone) -> int:
    """Leave what the stages leave of every source and cell; returns the number of cells."""
    loaded = load_config(clone.root, Profile(PROFILE, "synthetic"))
    one = make_foundry(loaded)
    for driver in one.states.plan.families:
        _fill_source(one, driver)
    for cell in one.states.plan.cells:
        key = cell_key(cell, loaded, one.states.hashes)
        if isinstance(key, Why):
            raise RuntimeError(f"{cell.name} has no key: {key.text}")
        _fill_cell(one, cell, key)
    return len(one.states.plan.cells)


def _release(number: int) -> str:
    return f"4.{12 + number % _MINORS}.{number // _MINORS}"


def _entry(number: int, kernel: int) -> dict[str, str]:
    return {
        "version": _release(number), "arch": "x86_64",
        "dtk": f"quay.io/openshift-release-dev/ocp-v4.0-art-dev@sha256:{number:064x}",
        "kernel": f"5.14.0-{400 + kernel}.{kernel % 90}.1.el9_4.x86_64",
    }


def _lock(drivers: Sequence[str]) -> dict[str, Any]:
    name = "aws-neuronx-dkms"
    return {
        "schema": 1,
        "base": {
            "name": "public.ecr.aws/docker/library/busybox:stable-musl", "digest": "sha256:" + "e" * 64,
            "created": "2025-01-02T03:04:05Z",
            "busybox": {"version": "1.37.0", "source": "https://busybox.net/downloads/busybox-1.37.0.tar.bz2"},
        },
        "packages": {
            driver: {
                "name": name, "href": f"{name}-{driver}.noarch.rpm",
                "url": f"https://yum.repos.neuron.amazonaws.com/{name}-{driver}.noarch.rpm",
                "content_sha256": f"{number + 1:064x}", "build_time": 1747693633, "license": "GPL-2.0",
            }
            for number, driver in enumerate(drivers)
        },
    }


def _fill_source(one: Foundry, driver: str) -> None:
    family, folder = one.states.plan.families[driver], one.source_folder(driver)
    locked = one.config.locks.of(family.name).packages[driver]
    (folder / source.TREE).mkdir(parents=True)
    (folder / _PACKAGE).write_bytes(driver.encode().ljust(_PACKAGE_BYTES))
    (folder / source.TAR).write_bytes(driver.encode().ljust(_TAR_BYTES))
    common = {"driver": driver, "family": family.name, "content_sha256": locked.content_sha256}
    _record(one, folder, "fetch", {
        **common, "inputs": {}, "outputs": output_facts(folder, [_PACKAGE]),
        "key": one.states.fetch_key(driver, family), "file_sha256": "0" * 64, "url": locked.url,
        "signature": {"fingerprint": family["signing"]["fingerprint"], "created": 1747693633},
    })
    package = str(one.states.source_folder(driver) / _PACKAGE)
    _record(one, folder, "source", {
        **common, "inputs": input_facts(one.root, [package]), "outputs": output_facts(folder, [source.TAR]),
        "tree_sha256": "0" * 64, "files": 0,
    })


def _fill_cell(one: Foundry, cell: Cell, key: CellKey) -> None:
    folder = one.cell_folder(cell)
    names = [*module.module_names(one, cell), *(f"{module.DEPMOD}/modules.{name}" for name in _DEPMOD)]
    (folder / module.DEPMOD).mkdir(parents=True)
    for name in (*names, image.IMAGE_FILE):
        (folder / name).write_bytes(f"{cell.name} {name}\n".encode())
    common = {"driver": cell.driver, "family": cell.family.name, "kernel": cell.kernel, "arch": cell.arch}
    _record(one, folder, "module", {
        **common, "key": key.module, "key_inputs": key.module_parts,
        "inputs": input_facts(one.root, module.file_deps(one, cell)), "outputs": output_facts(folder, names),
        "toolkit": cell.toolkit, "patches": [], "patches_inert": module.inert_patches(cell),
        "gate": {"neuron.ko": {"vermagic": cell.kernel}}, "compiler": "gcc", "signature_hash": "sha256",
        "symvers_sha256": "0" * 64, "devices": [], "loads": [], "materials": {"packages": [], "patches": {}},
        "builder": {"id": "urn:bench"},
    })
    _record(one, folder, "image", {
        **common, "key": key.key, "key_inputs": key.parts,
        "inputs": input_facts(one.root, image.file_deps(one, cell)),
        "outputs": output_facts(folder, [image.IMAGE_FILE]),
        "tag": cell.tag, "digest": "sha256:" + key.key, "config_digest": "sha256:" + key.module,
        "diff_ids": ["sha256:" + "1" * 64, "sha256:" + key.module], "size": 1_200_000,
        "labels": {**key.labels, KEY_LABEL: key.key}, "tools": {"podman": "4.9.4"},
    })


def _record(one: Foundry, folder: Path, stage: str, facts: Mapping[str, Any]) -> None:
    path = folder / f"{stage}.json"
    write_record(path, stage, facts)
    faults = one.config.validation.faults(f"record-{stage}", read_record(path, stage), str(path))
    if faults:
        raise RuntimeError(f"the synthetic record is not valid: {faults[0].render()}")
