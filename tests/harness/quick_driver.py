"""The sandbox's drivers as one translation unit with few registers: they compile in a fifth of the time.

The packages have all files of the sandbox's own, are signed by the same key, and lie beside them on its web server.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from foundry.base.files import scratch
from foundry.sandbox.standin import build_repository
from tests.harness.clone import ROOT, Clone

TEMPLATE = ROOT / "container/sandbox/standin"
_PROFILE = "config/profiles/sandbox.yaml"
_OWN, _QUICK = (f"http://web.sandbox.internal/{name}/" for name in ("yum", "quick"))
_UNIT = "neuron_unit"


def quick_source(folder: Path) -> Path:
    """A copy of the drivers' source in which one file includes all others; of the register blocks one is left."""
    shutil.copytree(TEMPLATE, folder, symlinks=True)
    for path in folder.glob("v?/address_map.h"):  # the block that the code names is left
        others = re.sub(r"(?m)^\tBLOCK\((?!axi).*\n?", "", path.read_text())
        path.write_text(re.sub(r"(BLOCK\(axi, \w+\)).*", r"\1", others))
    lines = []
    for line in (folder / "Kbuild").read_text().splitlines():
        if line.startswith("# @"):  # which versions have the files
            lines.append(f"/* {line.removeprefix('# ')} */")
        for name in re.findall(r"(\S+)\.o\b", line):
            if name != "neuron":
                macros = re.findall(r"(?m)^#define (\w+)", (folder / f"{name}.c").read_text())
                lines += [f'#include "{name}.c"', *(f"#undef {macro}" for macro in macros)]
    (folder / f"{_UNIT}.c").write_text("\n".join(lines) + "\n")
    (folder / "Kbuild").write_text(f"obj-m += neuron.o\nneuron-y := {_UNIT}.o\nccflags-y += -I$(src)\n")
    return folder


@contextmanager
def quick_repository(services: Path) -> Iterator[None]:
    """The packages are on the sandbox's web server."""
    profile = yaml.safe_load((ROOT / _PROFILE).read_text())
    folder = services / "web" / "quick"
    with scratch(services, "quick") as work:
        build_repository(folder, profile["sandbox"]["versions"], source=quick_source(work / "source"),
                         log=services / "quick.log")
    try:
        yield
    finally:
        shutil.rmtree(folder)


def take_quick(clone: Clone) -> None:
    """Have a checkout in the profile `sandbox` fetch them."""
    clone.edit(_PROFILE, _OWN, _QUICK)


def take_own(clone: Clone) -> None:
    """Have it fetch the sandbox's own again."""
    clone.edit(_PROFILE, _QUICK, _OWN)
