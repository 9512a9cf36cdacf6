"""Container stores of a test's own, cold at first and gone afterwards."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def cold_store(folder: Path) -> Iterator[dict[str, str]]:
    """The environment that makes podman use an empty store in `folder`."""
    folder.mkdir(parents=True)
    conf = folder / "storage.conf"
    conf.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n', encoding="utf-8"
    )
    environment = {"CONTAINERS_STORAGE_CONF": str(conf)}
    try:
        yield environment
    finally:
        for mount in sorted(_mounts(folder), key=len, reverse=True):
            subprocess.run(["umount", mount], check=False)
        shutil.rmtree(folder)


def _mounts(folder: Path) -> list[str]:
    lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    return [line.split()[1] for line in lines if line.split()[1].startswith(f"{folder}/")]
