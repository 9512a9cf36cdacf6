"""A package's own conditions on kernels (dkms(8), "BUILD_EXCLUSIVE"), judged as DKMS 3.2 judges them.

Versions are compared as text, whole names with their release, each number widened to three digits: that is how DKMS
does it. `OBSOLETE_BY` is an upper bound where there is no other.
"""

from __future__ import annotations

import re

from foundry.base.expressions import bash_matches

CONFIG = "BUILD_EXCLUSIVE_CONFIG"


def meets(name: str, wanted: str, *, kernel: str, arch: str, config: str) -> bool:
    """Whether a kernel meets a condition; `config` is its configuration, the text of ``.config``.

    Raises EndlessError for an expression that can't be judged; one that bash can't read is met by no kernel.
    """
    if name == "BUILD_EXCLUSIVE_KERNEL_MIN":
        return _widened(kernel) >= _widened(wanted)
    if name in ("BUILD_EXCLUSIVE_KERNEL_MAX", "OBSOLETE_BY"):
        return _widened(kernel) <= _widened(wanted)
    if name == CONFIG:
        on = set(re.findall(r"^(CONFIG_\w+)=[ym]", config, re.MULTILINE | re.ASCII))
        return all((word.removeprefix("!") in on) is not word.startswith("!") for word in wanted.split())
    return bash_matches(arch if name == "BUILD_EXCLUSIVE_ARCH" else kernel, wanted)


def _widened(version: str) -> str:
    return re.sub(r"[0-9]+", lambda number: number[0].zfill(3), version).replace(" ", "")
