"""What of ours is left on the machine: in files, in podman's store, as mounts and as processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from foundry.podman.engine import Engine
from tests.harness.clone import Clone

_LOCKS = re.compile(r"\.run\.lock|\.ledger\.lock|\.lock-[a-z0-9-]+")


def in_files(clone: Clone) -> Iterator[str]:
    """Temporary names in ``build/`` and in TMPDIR, work folders, what podman had there, secrets."""
    for pattern in (".*", "*/.*", "*/*/.*", "cells/*/work", "engine/tmp/*", "engine/auth-*"):
        for path in clone.build.glob(pattern):
            if not _LOCKS.fullmatch(path.name):
                yield f"file {path.relative_to(clone.build)}"
    for folder in ("TMPDIR",):
        if folder in clone.extra:
            yield from (f"file {path}" for path in Path(clone.extra[folder]).iterdir())


def on_machine() -> set[str]:
    """What podman's store holds but pulled images, and its mounts; compared between before and after."""
    shown = json.loads(_podman("ps", "--all", "--external", "--no-trunc", "--format=json") or "[]")
    found = {f"container {one['Id'][:12]} {one['Names']}" for one in shown}
    images = subprocess.run(["podman", "images", "--all", "--format={{.Repository}} {{.ID}}"], capture_output=True,
                            text=True, check=False)
    found |= {f"image {line}" for line in images.stdout.splitlines() if ".internal/" not in line}
    if images.returncode != 0:  # it lists none while one is half written
        found.add(f"image {images.stderr.strip()}")
    root = _podman("info", "--format={{.Store.GraphRoot}}").strip()
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    return found | {f"mount {line.split()[1]}" for line in mounts if f" {root}/overlay/" in line}


def processes(clone: Clone) -> Iterator[str]:
    """Those that work for a clone, or watch over its containers, and containers that only the runtime knows."""
    marks = (str(clone.root).encode(), Engine(clone.build / "engine" / "engine.json").mark.encode())
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words, around = ((folder / name).read_bytes() for name in ("cmdline", "environ"))
            if int(folder.name) != os.getpid() and (marks[1] in words or b"KMOD_FOUNDRY_RUN=" + marks[0] in around):
                yield f"process {folder.name} {words.replace(bytes(1), b' ').decode(errors='replace')[:120]}"
    for state in Path("/run/runc").glob("*/state.json"):
        with suppress(OSError):
            if any(mark in state.read_bytes() for mark in marks):
                yield f"container of runc {state.parent.name}"


def _podman(*words: str) -> str:
    return subprocess.run(["podman", *words], capture_output=True, text=True, check=True).stdout
