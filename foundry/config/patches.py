"""Patches as data: which apply to a cell, and how they change a source tree.

A patch names version ranges and exact texts with the number of times each must
be found. A patch that should apply and does not is an error, never a warning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from foundry.base.errors import FoundryError
from foundry.base.files import read_file
from foundry.base.reasons import Reason
from foundry.base.versions import in_range, kernel_version, rhel_release
from foundry.formats.trees.links import is_behind_link


@dataclass(frozen=True)
class Edit:
    """One exact text in one file, what it becomes, and how often it must be there."""

    file: str
    find: str
    replace: str
    matches: int


@dataclass(frozen=True)
class Patch:
    """A named set of edits and the drivers, kernels and RHEL releases that need it."""

    id: str
    why: str
    drivers: str
    kernels: str
    rhel: str
    edits: tuple[Edit, ...]

    @staticmethod
    def from_config(data: Mapping[str, Any]) -> Patch:
        """From a family file's entry (schemas/common.schema.json)."""
        edits = tuple(
            Edit(edit["file"], edit["find"], edit["replace"], edit["matches"]) for edit in data["edits"]
        )
        return Patch(
            data["id"], data["why"], data.get("drivers", "*"), data.get("kernels", "*"), data.get("rhel", "*"), edits
        )

    def inert_because(self, driver: str, kernel: str) -> str:
        """Why the patch does not apply to the cell; empty when it applies."""
        if not in_range(driver, self.drivers):
            return f"driver {driver} is not {self.drivers}"
        if not in_range(kernel_version(kernel), self.kernels):
            return f"kernel {kernel_version(kernel)} is not {self.kernels}"
        if self.rhel != "*":
            release = rhel_release(kernel)
            if release is None:
                return f"{kernel} is no RHEL kernel"
            if not in_range(release, self.rhel):
                return f"RHEL {release} is not {self.rhel}"
        return ""

    def as_data(self) -> dict[str, Any]:
        """As the family file has it, and a ledger keeps it; `from_config` reads it again."""
        return {**asdict(self), "edits": [asdict(edit) for edit in self.edits]}

    @cache  # noqa: B019 - patches live as long as the process
    def as_key(self) -> dict[str, Any]:
        """What of the patch a cell's key depends on: the edits, not the ranges or the reason."""
        return {"id": self.id, "edits": [[e.file, e.find, e.replace, e.matches] for e in self.edits]}


def applying(patches: Sequence[Patch], driver: str, kernel: str) -> tuple[Patch, ...]:
    """The patches that apply to a cell, in the order of the family file."""
    return tuple(patch for patch in patches if not patch.inert_because(driver, kernel))


def file_of(patch: Patch, edit: Edit, tree: Path) -> Path:
    """The file that an edit changes; FoundryError (``patch-file-missing``) for no plain file, or one behind a link."""
    path = tree / edit.file
    if is_behind_link(edit.file, tree) or not path.is_file():
        raise FoundryError(
            f"patch {patch.id} wants to change {edit.file}, which the driver's source does not have",
            reason=Reason.PATCH_FILE_MISSING, hint="narrow the patch's `drivers` range in the family file",
        )
    return path


def edited(patch: Patch, edit: Edit, content: bytes) -> bytes:
    """A file's content after one edit; FoundryError (``patch-mismatch``) for another number of matches than it says."""
    found = content.count(edit.find.encode())
    if found != edit.matches:
        raise FoundryError(
            f"patch {patch.id}: {edit.file} has the text {edit.find!r} {found} times, expected {edit.matches}",
            reason=Reason.PATCH_MISMATCH, hint="the source changed: correct the patch or its ranges in the family file",
        )
    return content.replace(edit.find.encode(), edit.replace.encode())


def apply(patch: Patch, tree: Path) -> list[dict[str, Any]]:
    """Apply every edit to the files below `tree`; returns one finding an edit. Raises as `file_of` and `edited` do."""
    findings = []
    for edit in patch.edits:
        path = file_of(patch, edit, tree)
        path.write_bytes(edited(patch, edit, read_file(path)))
        findings.append({"patch": patch.id, "file": edit.file, "matches": edit.matches})
    return findings
