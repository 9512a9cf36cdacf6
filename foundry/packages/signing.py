"""The key that must have signed something: its full fingerprint, as the configuration pins it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foundry.base.errors import ConfigError, Fault
from foundry.base.files import read_file


def pinned_fingerprint(root: Path, signing: Mapping[str, Any], file: str, path: str = "$.signing") -> str:
    """The full fingerprint that `signing`, the part of a file of configuration at `path`, pins.

    `root` is the checkout. ConfigError when there is none.
    """
    if "fingerprint_file" in signing:
        try:
            return read_file(root / str(signing["fingerprint_file"])).decode(errors="replace").strip()
        except FileNotFoundError:
            fault = Fault(file, f"{path}.fingerprint_file", f"{signing['fingerprint_file']} does not exist")
            raise ConfigError([fault], hint="run `doit sandbox:up`") from None
    return str(signing["fingerprint"])
