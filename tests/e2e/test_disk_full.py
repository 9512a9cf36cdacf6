"""A disk that is full at each stage: a sentence, exit code 3, nothing half-done; the work goes on once it grew."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.harness.clone import Clone
from tests.harness.disk import small_disk
from tests.harness.refusal import no_container, refused

DRIVER = "2.22.2.0"
USUAL = {"fetch.log", "failure.json", "signing-key.asc"}
FULL = "No space left on device"


@pytest.mark.parametrize("stage, kib, reason, left", [
    ("fetch", 24, "no-space", []), ("fetch", 200, "no-space", []),
    ("source", 340, "no-space", ["fetch.json", "package.rpm"]),
])
def test_while_fetching_and_unpacking(
    stage: str, kib: int, reason: str, left: list[str], copied: Clone, built: Clone
) -> None:
    """While the package arrives, while it is looked into, while the tree's tar is written."""
    folder = copied.build / "sources" / DRIVER
    clear(folder)
    lock = (copied.build / "locks/neuron.json").read_bytes()
    with small_disk(folder, kib) as grow:
        refused(copied, copied.doit(f"source:{DRIVER}"), f"{stage}:{DRIVER}", 3, reason, FULL, hint="free some space")
        assert sorted({path.name for path in folder.iterdir()} - USUAL) == left
        assert (copied.build / "locks/neuron.json").read_bytes() == lock
        grow(4096)
        run = copied.doit(f"source:{DRIVER}")
        assert run.code == 0, run.text
        assert not (folder / "failure.json").exists()
        for name in ("source.tar", "source.json"):
            assert (folder / name).read_bytes() == (built.build / "sources" / DRIVER / name).read_bytes()


@pytest.mark.parametrize("kib", [280, 2048])
def test_while_compiling(kib: int, copied: Clone, built: Clone, kernels: list[str]) -> None:
    """So full that the log's end is lost, too; and in the middle of the compile."""
    cell = f"{DRIVER}-{kernels[0]}"
    folder = copied.cell(cell)
    (folder / "neuron.ko").unlink()
    with small_disk(folder, kib) as grow:
        run = copied.doit(f"module:{cell}")
        assert run.compiled == [kernels[0]]
        failure = refused(copied, run, f"module:{cell}", 3, "no-space", f"{cell} can't be compiled", FULL,
                          hint="free some space")
        assert failure.log == f"build/sandbox/cells/{cell}/build.log"
        assert not (folder / "work").exists(), "it would keep the disk full"
        assert copied.status()[cell]["reason"].startswith("no-space: ")
        no_container(copied)
        if kib < 2048:
            return
        grow(65536)
        run = copied.doit(f"module:{cell}")
        assert (run.code, run.compiled) == (0, [kernels[0]]), run.text
        assert copied.record(cell, "module") == built.record(cell, "module")


@pytest.mark.parametrize("kib", [100, 900, 2200])
def test_while_writing_the_image(kib: int, copied: Clone, built: Clone, kernels: list[str]) -> None:
    """While the context is gathered, while podman writes its archive, while ours is written."""
    cell = f"{DRIVER}-{kernels[0]}"
    folder = copied.cell(cell)
    for name in ("image.json", "image.oci.tar"):
        (folder / name).unlink()
    with small_disk(folder, kib) as grow:
        run = copied.doit(f"image:{cell}")
        refused(copied, run, f"image:{cell}", 3, "no-space", FULL[1:], f"cells/{cell}", hint="free some space")
        assert not (folder / "image.oci.tar").exists()
        no_container(copied)
        grow(65536)
        run = copied.doit(f"image:{cell}")
        assert (run.code, run.compiled) == (0, []), run.text
        assert copied.record(cell, "image") == built.record(cell, "image")
        assert not (folder / "failure.json").exists()


def clear(folder: Path) -> None:
    """Remove a folder of sources, which are read-only."""
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder)


def test_while_the_ledger_is_written(copied: Clone) -> None:
    """The images are pushed; what could not be written is reported by the next run; it sends and compiles nothing."""
    folder = copied.build / "release"
    folder.mkdir(parents=True, exist_ok=True)
    with small_disk(folder, 8) as grow:
        run = copied.doit(f"publish:{DRIVER}")
        assert run.code == 3, run.text
        assert "Traceback" not in run.text
        assert FULL in run.text
        assert "hint: free some space" in run.text
        grow(4096)
        run = copied.doit(f"publish:{DRIVER}")
        assert run.code == 0, run.text
        assert (run.compiled, run.imaged) == ([], 0)
        rows = [row for row in copied.status().values() if row["driver"] == DRIVER]
        assert {row["state"] for row in rows} == {"published"}
