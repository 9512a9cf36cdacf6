"""What `doit prune` takes for waste."""

from __future__ import annotations

from pathlib import Path

import pytest

from foundry.base.records import write_record
from foundry.cell.prune import Waste, prune, waste
from foundry.run.context import open_foundry
from tests.harness.checkout import DTK, OLD, Checkout

GONE = "5.14.0-1.el9_0.x86_64"


def kit(folder: Path, kernel: str) -> Path:
    """As stage boot keeps it."""
    folder.mkdir(parents=True)
    (folder / "vmlinuz").write_bytes(b"x" * 1000)
    write_record(folder / "kit.json", "kit", {
        "kernel": kernel, "toolkit": f"{DTK}{'a' * 64}", "in_tree": [], "modprobe": "kmod 30", "mounts": True,
        "inputs": {}, "outputs": {}})
    return folder


def test_kits_of_kernels_that_no_cell_has(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others stay, and so does what is known of this machine; what is no kit would be taken anew."""
    monkeypatch.setenv("KMOD_PROFILE", "local")
    boots = checkout.root / "build/local/boot"
    used, gone, broken = kit(boots / f"{OLD}-aaa", OLD), kit(boots / f"{GONE}-aaa", GONE), kit(boots / f"{OLD}-b", OLD)
    (broken / "kit.json").write_text("{}")
    (boots / "accelerator.json").write_text("{}")
    kit(boots / f".{GONE}.1.x", GONE)  # another process is at it
    foundry = open_foundry(checkout.root)
    found = list(waste(foundry))
    assert [(one.kind, one.name) for one in found] == [("boot kit", str(gone)), ("boot kit", str(broken))]
    assert found[0].size > 1000
    assert all(prune(foundry, one) for one in found)
    assert sorted(path.name for path in boots.iterdir()) == sorted([
        f".{GONE}.1.x", used.name, "accelerator.json"])
    assert list(waste(foundry)) == list[Waste]()
