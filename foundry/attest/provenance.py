"""Provenance of a cell's image, as SLSA defines it (provenance v1): from the cell's records and lock alone.

What went in stands in `buildDefinition`, the same for the same image; where it was made in `runDetails`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from foundry.base.records import Record
from foundry.config.locks import Base
from foundry.config.recipe import BUILD_SCRIPT
from foundry.plan.cells import Cell
from foundry.plan.keys import CellKey

TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:kmod-foundry:image:v1"


def predicate(
    cell: Cell, key: CellKey, module: Record, image: Record, sign: Record | None, base: Base, source_url: str
) -> Mapping[str, Any]:
    """The predicate, from the records of the stages that made the image; `sign` where its modules are signed."""
    materials = module["materials"]
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "driver": cell.driver, "family": cell.family.name, "kernel": cell.kernel, "arch": cell.arch,
            },
            "internalParameters": {
                "key": key.key, "keyInputs": dict(key.parts), "labels": dict(image["labels"]),
                "patches": [{"id": name, "sha256": digest} for name, digest in materials["patches"].items()],
                **({"moduleSigner": {"signer": sign["signer"], "certificate": sign["certificate"],
                                     "hash": sign["hash"]}} if sign is not None else {}),
                **({"checkoutChanged": True} if materials.get("changed") else {}),
            },
            "resolvedDependencies": list(_dependencies(cell, materials, module, image, base, source_url)),
        },
        "runDetails": {
            "builder": {
                "id": module["builder"]["id"],
                "version": {"compiler": module["compiler"], **image.get("tools", {})},
            },
            **({"metadata": {"invocationId": module["builder"]["invocation"]}}
               if "invocation" in module["builder"] else {}),
        },
    }


def _dependencies(
    cell: Cell, materials: Mapping[str, Any], module: Record, image: Record, base: Base, source_url: str
) -> Iterator[dict[str, Any]]:
    """Everything that has an address, with its digest (in-toto: resource descriptors)."""
    for package in materials["packages"]:
        signer = {"annotations": {"signer": package["signer"]}} if "signer" in package else {}
        yield {"name": package["name"], "uri": package["url"], "digest": {"sha256": package["sha256"]}, **signer}
    yield {"name": "toolkit", "uri": f"docker://{cell.toolkit}", "digest": _digest(cell.toolkit_digest)}
    yield {"name": "base", "uri": f"docker://{base.name}", "digest": _digest(base.digest)}
    if "commit" in materials:
        yield {"name": "kmod-foundry", "uri": f"git+{source_url}", "digest": {"gitCommit": materials["commit"]}}
    scripts = {BUILD_SCRIPT: module, cell.family["containerfile"]: image,
               **dict.fromkeys(cell.family["licenses"], image)}
    for file, record in scripts.items():
        yield {"name": Path(file).name, "uri": f"file:{file}", "digest": {"sha256": record["inputs"][file]}}


def _digest(digest: str) -> dict[str, str]:
    algorithm, _, value = digest.partition(":")
    return {algorithm: value}
