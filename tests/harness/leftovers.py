"""What the stages leave of a built cell, with small files in place of modules and images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from foundry.base.records import input_facts, output_facts, read_record, write_record
from foundry.plan.state import States

DIGEST = "sha256:" + "f" * 64


def leave_built(states: States, name: str) -> Path:
    """Leave a cell's records and files, with its keys of now; the folder."""
    state = states.cells[name]
    cell, key = state.cell, state.key
    assert key is not None
    root, place = states.config.root, states.cell_folder(cell)
    folder = root / place
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "neuron.ko").write_bytes(b"module")
    (folder / "image.oci.tar").write_bytes(b"image")
    common = {"driver": cell.driver, "family": cell.family.name, "kernel": cell.kernel, "arch": cell.arch}
    write_record(folder / "module.json", "module", {
        **common, "key": key.module, "key_inputs": key.module_parts, "inputs": {},
        "outputs": output_facts(folder, ["neuron.ko"]),
    })
    inputs = [str(place / "module.json"), cell.family["containerfile"], *cell.family["licenses"]]
    write_record(folder / "image.json", "image", {
        **common, "key": key.key, "key_inputs": key.parts, "inputs": input_facts(root, inputs),
        "outputs": output_facts(folder, ["image.oci.tar"]), "digest": DIGEST,
    })
    return folder


def change_record(folder: Path, stage: str, **changes: Any) -> None:
    """Have a stage's record say something else, as if the stage had written it so."""
    record = read_record(folder / f"{stage}.json", stage)
    assert record is not None
    facts = {name: value for name, value in record.items() if name != "sha256"}
    write_record(folder / f"{stage}.json", stage, {**facts, **changes})
