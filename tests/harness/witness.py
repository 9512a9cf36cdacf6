"""Debian 13's cosign and skopeo, which check signatures of images, and kubectl: what consumers have, no reader of ours.

They are fetched once into ``build/cache``, by apt, which checks Debian's signatures; nothing is installed, and they run
with the libraries that come with them. Debian 12's skopeo refuses every policy with sigstore keys.
"""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from pathlib import Path

from foundry.base.filelock import locked
from foundry.base.files import remove_tree
from foundry.packages.apt import archive
from tests.harness.debian_packages import KEYRING
from tests.harness.github_openapi import CACHE

_ROOT = CACHE / "witness-trixie"
_PROGRAMS = ("cosign", "kubectl", "skopeo")


@cache
def root() -> Path:
    """The folder with the programs."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with locked(CACHE / ".witness.lock"):
        if not all((_ROOT / "usr/bin" / name).exists() for name in _PROGRAMS):
            remove_tree(_ROOT)
            made = CACHE / "witness-new"
            remove_tree(made)
            source = f"deb [signed-by={KEYRING}] {archive('debian')} trixie main"
            subprocess.run(["mmdebstrap", "--quiet", "--variant=extract", f"--include={','.join(_PROGRAMS)}", "trixie",
                            made, source], check=True, capture_output=True)
            os.replace(made, _ROOT)
    return _ROOT


def run(
    program: str, *args: object, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The program with these arguments; its output as text."""
    [libraries] = (root() / "usr/lib").glob(f"{platform.machine()}-linux-gnu")
    [loader] = [*libraries.glob("ld-linux-*.so.*")]
    return subprocess.run(
        [loader, "--library-path", libraries, root() / "usr/bin" / program, *map(str, args)], capture_output=True,
        text=True, check=False, env={**os.environ, **environment}, cwd=cwd,
    )
