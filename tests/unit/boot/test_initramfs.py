"""The archive that a guest's kernel unpacks, read by cpio."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

from foundry.boot.initramfs import archive, console, entries_of, file, folder, link


def unpacked(data: bytes, place: Path) -> Path:
    place.mkdir()
    subprocess.run(["cpio", "--quiet", "-i", "-d", "-m"], input=data, cwd=place, check=True)
    return place


def test_cpio_reads_it(tmp_path: Path) -> None:
    entries = [file("opt/lib/a.ko", b"\x7fELF123"), file("init", b"#!/bin/sh\n", executable=True),
               link("opt/lib/host", "/lib/modules/1"), folder("proc"), console()]
    data = archive(entries)
    assert data == archive(reversed(entries)), "the same bytes in whatever order"
    assert len(data) % 4 == 0
    root = unpacked(data, tmp_path / "root")
    assert (root / "opt/lib/a.ko").read_bytes() == b"\x7fELF123"
    assert os.access(root / "init", os.X_OK) and not os.access(root / "opt/lib/a.ko", os.X_OK)
    assert (root / "opt/lib/host").readlink() == Path("/lib/modules/1")
    facts = (root / "dev/console").stat()
    assert stat.S_ISCHR(facts.st_mode) and (os.major(facts.st_rdev), os.minor(facts.st_rdev)) == (5, 1)


def test_a_folder_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "tree/usr/bin").mkdir(parents=True)
    (tmp_path / "tree/usr/bin/cat").write_bytes(b"program")
    root = unpacked(archive(entries_of(tmp_path / "tree")), tmp_path / "root")
    assert (root / "usr/bin/cat").read_bytes() == b"program" and os.access(root / "usr/bin/cat", os.X_OK)


def test_the_last_entry_of_a_name_counts(tmp_path: Path) -> None:
    root = unpacked(archive([file("a", b"1"), file("a", b"2")]), tmp_path / "root")
    assert (root / "a").read_bytes() == b"2"
