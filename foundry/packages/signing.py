"""The key that must have signed a package: its full fingerprint, as the family file pins it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from foundry.base.errors import ConfigError, Fault
from foundry.config.family import Family


def pinned_fingerprint(root: Path, family: Family, signing: Mapping[str, Any], path: str = "$") -> str:
    """The full fingerprint that `signing`, the part of a family file at `path`, pins; ConfigError when there is none.

    `root` is the checkout.
    """
    if "fingerprint_file" in signing:
        file = root / str(signing["fingerprint_file"])
        try:
            return file.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            fault = Fault(family.file, f"{path}.signing.fingerprint_file",
                          f"{signing['fingerprint_file']} does not exist")
            raise ConfigError([fault], hint="run `doit sandbox:up`") from None
    return str(signing["fingerprint"])
