"""Container stores of a test's own, cold at first and gone afterwards."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foundry.podman.probe import LONGEST_RUNROOT


@contextmanager
def cold_store(folder: Path) -> Iterator[dict[str, str]]:
    """The environment that makes podman use an empty store in `folder`.

    What podman keeps while containers run is in a folder with a short name: with a long one each container
    would end 20 s late (`foundry.podman.probe.LONGEST_RUNROOT`).
    """
    folder.mkdir(parents=True)
    runroot = Path(tempfile.mkdtemp(prefix="run-", dir="/tmp"))
    assert len(str(runroot)) <= LONGEST_RUNROOT
    conf = folder / "storage.conf"
    conf.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/graph"\nrunroot = "{runroot}"\n', encoding="utf-8"
    )
    environment = {"CONTAINERS_STORAGE_CONF": str(conf)}
    try:
        yield environment
    finally:
        for place in (folder, runroot):
            for mount in sorted(_mounts(place), key=len, reverse=True):
                subprocess.run(["umount", mount], check=False)
            shutil.rmtree(place)


def _mounts(folder: Path) -> list[str]:
    lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    return [line.split()[1] for line in lines if line.split()[1].startswith(f"{folder}/")]
