"""The gate: no module becomes an image unless the kernel it is for would load it.

Every rule is tried and every finding reported, so that one run of a build
tells all that is wrong with its module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.formats.modules.elf import ModuleFacts, read_module
from foundry.formats.modules.symvers import Export

RULES = {
    "elf": Reason.GATE_ELF, "arch": Reason.GATE_ARCH, "vermagic": Reason.GATE_VERMAGIC, "name": Reason.GATE_NAME,
    "symbols": Reason.GATE_SYMBOLS, "crcs": Reason.GATE_CRCS,
}

_LAYOUT = "module_layout"  # its CRC stands for struct module itself
_SHOWN = 5
_LONGEST = 200  # characters of a word of a module


@dataclass(frozen=True)
class Finding:
    """What one rule found; `detail` is a clause that says what is wrong or what was checked."""

    rule: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class GateReport:
    """All findings on one module; with a file that is no module the rule `elf` stands alone."""

    module: str
    kernel: str
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether the module may go on."""
        return all(finding.ok for finding in self.findings)

    @property
    def broken(self) -> tuple[str, ...]:
        """The rules that the module breaks."""
        return tuple(finding.rule for finding in self.findings if not finding.ok)

    def to_json(self) -> dict[str, Any]:
        """The report for a record: the same for the same module, wherever it lies."""
        return {
            "module": self.module,
            "kernel": self.kernel,
            "ok": self.ok,
            "findings": [{"id": item.rule, "ok": item.ok, "detail": item.detail} for item in self.findings],
        }

    def require(self, *, log: Path | None = None) -> None:
        """Nothing when all is well; else FoundryError, its reason that of the first broken rule."""
        details = [finding.detail for finding in self.findings if not finding.ok]
        if details:
            raise FoundryError(
                f"{self.module} was not let through for kernel {self.kernel}: {'; '.join(details)}",
                reason=RULES[self.broken[0]],
                hint="the kernel would not load this module; look at how it was compiled",
                log=log,
            )


def check(
    module: Path,
    *,
    kernel: str,
    expected_name: str,
    symvers: Mapping[str, Export],
    arch: str,
    modversions: bool | None = None,
    siblings: Mapping[str, Export] | None = None,
) -> GateReport:
    """Hold a module file against the kernel (``uname -r``) that it is for.

    `symvers` is the kernel's own Module.symvers, `siblings` what the modules
    built beside it export. `modversions` says whether the kernel checks CRCs;
    None: it does if the module's vermagic says so or `symvers` has any CRC.
    """
    try:
        facts = read_module(module)
    except FoundryError as error:
        return GateReport(module.name, kernel, (Finding("elf", False, error.message),))
    exports = {**(siblings or {}), **symvers}
    if modversions is None:
        modversions = "modversions" in facts.vermagic.split() or any(item.crc for item in symvers.values())
    return GateReport(module.name, kernel, (
        Finding("elf", True, "a relocatable object with a .modinfo section"),
        _same("arch", "machine", facts.machine, arch),
        _vermagic(facts, kernel),
        _same("name", "name", facts.name, expected_name),
        _symbols(facts, exports),
        _crcs(facts, exports) if modversions else Finding("crcs", True, "the kernel has no modversions"),
    ))


def _same(rule: str, what: str, found: str, wanted: str) -> Finding:
    good = found == wanted
    said = f"its {what} is {found}" if good else f"its {what} is {found[:_LONGEST]!r}, not {wanted!r}"
    return Finding(rule, good, said)


def _vermagic(facts: ModuleFacts, kernel: str) -> Finding:
    good = facts.vermagic.startswith(f"{kernel} ")
    return Finding("vermagic", good, f"its vermagic is {facts.vermagic[:_LONGEST]!r}"
                   + ("" if good else f", which does not begin with {kernel!r}"))


def _symbols(facts: ModuleFacts, exports: Mapping[str, Export]) -> Finding:
    missing = [name for name in facts.imports if name not in exports]
    if missing:
        return Finding("symbols", False, f"the kernel exports no {_list(missing)}")
    return Finding("symbols", True, f"the kernel exports all {len(facts.imports)} symbols that it imports")


def _crcs(facts: ModuleFacts, exports: Mapping[str, Export]) -> Finding:
    """Imports that nobody exports are left to the rule `symbols`."""
    if not facts.versions:
        return Finding("crcs", False, "it has no symbol versions, and the kernel has modversions")
    wanted = {
        name: exports[name].crc
        for name in (*facts.imports, *facts.weak_imports, _LAYOUT) if name in exports
    }
    unversioned = [name for name, crc in wanted.items() if crc and name not in facts.versions]
    other = [name for name, crc in wanted.items() if facts.versions.get(name, crc) != crc]
    faults = []
    if _LAYOUT not in exports:
        faults.append(f"the kernel's Module.symvers has no {_LAYOUT}")
    if unversioned:
        faults.append(f"it has no symbol version for {_list(unversioned)}")
    if other:
        faults.append(f"it was compiled for another version of {_list(other)}")
    if faults:
        return Finding("crcs", False, " and ".join(faults))
    return Finding("crcs", True, f"the CRCs of all {len(wanted)} symbols are the kernel's")


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(name[:_LONGEST] for name in sorted(names)[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
