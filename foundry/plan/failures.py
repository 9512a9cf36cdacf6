"""How a cell failed the last time, and whether another try could end otherwise.

`failure.json` has the key that was tried. What else a compile can fail of (limits of the settings, the whole family
file, a package's conditions on kernels, this program itself) is in no key; its hash stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from foundry.base.errors import FoundryError
from foundry.base.files import canonical_json, read_json, sha256_bytes, sha256_file
from foundry.base.reasons import INPUT_FAULTS, Reason
from foundry.config.load import Config
from foundry.plan.cells import Cell
from foundry.plan.keys import BOOT_SCRIPTS

FAILURE_FILE = "failure.json"
_REASONS = frozenset(Reason)
_AGAIN = {"module": "compiled", "boot": "booted"}
# The settings that a compile can fail of, or a boot, begin so.
_LIMITS = ("compile_", "boot_", "secure_boot", "proof")


def read_failure(folder: Path, key: str) -> Mapping[str, Any] | None:
    """What `failure.json` says of the last try, if that was with this key; else None."""
    failure = read_json(folder / FAILURE_FILE)
    known = isinstance(failure, dict) and failure.get("key") == key and str(failure.get("reason")) in _REASONS
    return failure if known else None


class Circumstances:
    """What compiles can fail of besides the parts of their keys, as of now."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def of(self, cell: Cell) -> str:
        """The hash of a cell's; 64 hex digits."""
        exclusive = self._config.recipe(cell.family, cell.driver).exclusive
        return sha256_bytes(canonical_json([cell.family.data, exclusive, self._limits, self._program]))

    def same(self, failure: Mapping[str, Any], cell: Cell) -> bool:
        """Whether a compile or a boot that failed so, with today's key, would fail again."""
        return (failure.get("stage") in ("module", "boot") and failure["reason"] in INPUT_FAULTS
                and failure.get("circumstances") == self.of(cell))

    @cached_property
    def _limits(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self._config.settings).items() if name.startswith(_LIMITS)}

    @cached_property
    def _program(self) -> dict[str, str]:
        """Of each file of this program's: a later version may have another judgement."""
        found = Path(str(files("foundry")))
        files_of = {path.relative_to(found).as_posix(): path for path in found.rglob("*.py")}
        scripts = {name: self._config.root / name for name in BOOT_SCRIPTS}
        return {name: sha256_file(path) for name, path in (files_of | scripts).items()}


def known_failure(cell: Cell, failure: Mapping[str, Any]) -> FoundryError:
    """The error of a compile or a boot that is not done again."""
    log, stage = str(failure.get("log") or ""), failure["stage"]
    return FoundryError(
        f"not {_AGAIN[stage]} again, as nothing changed since: {failure.get('message')}",
        reason=Reason(failure["reason"]),
        hint=f"{failure.get('hint') or ''}; `doit --retry-failed {stage}:{cell.name}` tries it again".lstrip("; "),
        log=Path(log) if log else None, replay=str(failure.get("replay") or ""),
    )
