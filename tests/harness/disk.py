"""A small disk over a folder: a tmpfs, which needs root or a sudo that asks no password."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from foundry.base.files import remove_tree


@contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[Callable[[int], None]]:
    """Put a disk of `kib` KiB, what is used already not counted, over a folder; gives a function that grows it.

    The folder's content is on the disk, and after the block where it was.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as place:
        aside, after = f"{place}/before", f"{place}/after"
        shutil.copytree(folder, aside, symlinks=True)
        used = sum(-(-path.stat().st_size // 4096) * 4 for path in Path(aside).rglob("*") if path.is_file())
        options = f"size={kib + used}k,mode=0755,uid={os.getuid()},gid={os.getgid()}"
        _root("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder))
        try:
            shutil.copytree(aside, folder, symlinks=True, dirs_exist_ok=True)
            yield lambda more: _root("mount", "-o", f"remount,size={more}k", str(folder))
        finally:
            shutil.copytree(folder, after, symlinks=True)
            _root("umount", str(folder))
            remove_tree(folder)
            shutil.copytree(after, folder, symlinks=True)


def _root(*argv: str) -> None:
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    done = subprocess.run([*sudo, *argv], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
