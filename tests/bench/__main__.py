"""`make bench`: one line a figure (name, value, limit, ok or MISS); the exit code counts the misses.

``python -m tests.bench [NAME ...]`` measures all figures, or those of the modules named.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from foundry.base.files import remove_tree
from tests.bench.figure import Figure

# The modules of the figures, the quick ones first; each has `measure(folder)`.
MODULES = (
    "nothing_to_do", "graph", "library", "shards", "package_read", "archive", "kernel_read", "catalogue", "publish",
    "attest", "mirror", "release", "dtk", "from_nothing", "proof", "image_size", "reproducible", "families",
)


def main(names: Sequence[str]) -> int:
    """The number of figures that miss their limit or could not be had."""
    unknown = set(names) - set(MODULES)
    if unknown:
        sys.exit(f"there is no figure {', '.join(sorted(unknown))}; there are {', '.join(MODULES)}")
    misses = 0
    for name in names or MODULES:
        for figure in _figures(name):
            print(figure.line(), flush=True)
            misses += not figure.ok
    return misses


def _figures(name: str) -> Iterator[Figure]:
    folder = Path(tempfile.mkdtemp(prefix="kmod-bench-"))
    try:
        yield from importlib.import_module(f"tests.bench.{name}").measure(folder)
    except Exception as error:
        traceback.print_exc()
        yield Figure(name, "-", "-", ok=False, detail=str(error)[:200])
    finally:
        remove_tree(folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
