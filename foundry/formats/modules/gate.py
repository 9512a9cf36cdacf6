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
from foundry.formats.modules.symvers import Export, module_name

RULES = {
    "elf": Reason.GATE_ELF, "arch": Reason.GATE_ARCH, "vermagic": Reason.GATE_VERMAGIC, "name": Reason.GATE_NAME,
    "symbols": Reason.GATE_SYMBOLS, "license": Reason.GATE_LICENSE, "namespaces": Reason.GATE_NAMESPACES,
    "crcs": Reason.GATE_CRCS,
}
# What modprobe says of what a kernel refuses: kmod's words for the errors of init_module(2).
_BAD_FORMAT = "Exec format error"
_UNKNOWN = "Unknown symbol in module, or unknown parameter (see dmesg)"
_INVALID = "Invalid argument"
_SAYS = {"elf": _BAD_FORMAT, "arch": _BAD_FORMAT, "vermagic": _BAD_FORMAT, "name": "Module not found",
         "symbols": _UNKNOWN, "license": _UNKNOWN, "namespaces": _INVALID, "crcs": _INVALID}
# kernel, include/linux/license.h
_GPL = ("GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL")
_FOR_MODULES = "module:"  # a namespace that names the modules that may import it, from Linux 6.16 on
_LAYOUT = "module_layout"  # its CRC stands for struct module itself
_SHOWN = 5
_LONGEST = 200  # characters of a word of a module


@dataclass(frozen=True)
class Finding:
    """What one rule found; `detail` is a clause that says what is wrong or what was checked.

    `says` is what modprobe would say, where that is not what it says of all who break the rule.
    """

    rule: str
    ok: bool
    detail: str
    says: str = ""


@dataclass(frozen=True)
class GateReport:
    """All findings on one module; with a file that is no module the rule `elf` stands alone.

    `depends` are the kernel's own modules that must be loaded before it, sorted.
    """

    module: str
    kernel: str
    findings: tuple[Finding, ...]
    depends: tuple[str, ...] = ()

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
            "depends": list(self.depends),
            "findings": [{"id": item.rule, "ok": item.ok, "detail": item.detail} for item in self.findings],
        }

    def require(self, *, log: Path | None = None) -> None:
        """Nothing when all is well; else FoundryError, its reason that of the first broken rule."""
        broken = [finding for finding in self.findings if not finding.ok]
        if broken:
            details = "; ".join(finding.detail for finding in broken)
            raise FoundryError(
                f"{self.module} was not let through for kernel {self.kernel}: {details}",
                reason=RULES[broken[0].rule],
                hint=f"modprobe would say: {broken[0].says or _SAYS[broken[0].rule]}; look at how it was compiled",
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
    built beside it export, which take the place of the kernel's own modules
    that export the same. `modversions` says whether the kernel checks CRCs;
    None: it does if the module's vermagic says so or `symvers` has any CRC.
    """
    try:
        facts = read_module(module)
    except FoundryError as error:
        return GateReport(module.name, kernel, (Finding("elf", False, error.message),))
    beside = {name: one for name, one in (siblings or {}).items() if name not in symvers or symvers[name].owner}
    exports = {**symvers, **beside}
    if modversions is None:
        modversions = "modversions" in facts.vermagic.split() or any(item.crc for item in symvers.values())
    return GateReport(module.name, kernel, (
        Finding("elf", True, "a relocatable object with a .modinfo section"),
        _same("arch", "machine", facts.machine, arch),
        _vermagic(facts, kernel),
        _same("name", "name", facts.name, expected_name),
        _symbols(facts, symvers, exports),
        _license(facts, exports),
        _namespaces(facts, exports),
        _crcs(facts, exports) if modversions else Finding("crcs", True, "the kernel has no modversions"),
    ), tuple(sorted({symvers[name].owner for name in _imported(facts, symvers) if name not in beside} - {""})))


def _same(rule: str, what: str, found: str, wanted: str) -> Finding:
    good = found == wanted
    said = f"its {what} is {found}" if good else f"its {what} is {found[:_LONGEST]!r}, not {wanted!r}"
    return Finding(rule, good, said)


def _vermagic(facts: ModuleFacts, kernel: str) -> Finding:
    good = facts.vermagic.startswith(f"{kernel} ")
    return Finding("vermagic", good, f"its vermagic is {facts.vermagic[:_LONGEST]!r}"
                   + ("" if good else f", which does not begin with {kernel!r}"))


def _imported(facts: ModuleFacts, exports: Mapping[str, Export]) -> list[str]:
    """What it imports and these exports have; weak imports, too, as for depmod."""
    return [name for name in (*facts.imports, *facts.weak_imports) if name in exports]


def _symbols(facts: ModuleFacts, symvers: Mapping[str, Export], exports: Mapping[str, Export]) -> Finding:
    missing = [name for name in facts.imports if name not in exports]
    if missing:
        here = {one.owner for one in exports.values()}
        foreign = [name for name in facts.first("depends").split(",") if name and module_name(name) not in here]
        of = f"; it needs {_list(foreign)}, which is neither the kernel's nor in this image" if foreign else ""
        return Finding("symbols", False, f"the kernel exports no {_list(missing)}{of}")
    twice = [name for name in facts.exports if name in symvers and not symvers[name].owner]
    if twice:
        return Finding("symbols", False, f"it exports {_list(twice)}, which the kernel itself does", _BAD_FORMAT)
    return Finding("symbols", True, f"the kernel exports all {len(facts.imports)} symbols that it imports")


def _license(facts: ModuleFacts, exports: Mapping[str, Export]) -> Finding:
    said = facts.first("license")
    if said in _GPL:
        return Finding("license", True, f"its license {said} gets every symbol")
    refused = [name for name in facts.imports if name in exports and exports[name].gpl_only]
    what = f"its license is {said[:_LONGEST]!r}" if said else "it has no license"
    if refused:
        return Finding("license", False, f"{what}, and only modules under the GPL get {_list(refused)}")
    return Finding("license", True, f"{what}, and it imports nothing that is for the GPL only")


def _namespaces(facts: ModuleFacts, exports: Mapping[str, Export]) -> Finding:
    """What a symbol's namespace is must be imported (``MODULE_IMPORT_NS``), or name the module."""
    imported = facts.all("import_ns")
    missing = {
        name: space for name in _imported(facts, exports)
        if (space := exports[name].namespace) and space not in imported and not _is_for(space, facts.name)
    }
    if missing:
        spaces = sorted(set(missing.values()))
        return Finding("namespaces", False, f"it uses {_list(list(missing))} and does not import"
                       f" {'namespaces' if spaces[1:] else 'namespace'} {_list(spaces)}")
    return Finding("namespaces", True, f"it imports {_list(imported)}" if imported else "no symbol needs a namespace")


def _is_for(namespace: str, module: str) -> bool:
    """Whether a namespace names the module (kernel/module/main.c, verify_module_namespace)."""
    if not namespace.startswith(_FOR_MODULES):
        return False
    names = module_name(namespace.removeprefix(_FOR_MODULES)).split(",")
    return any(module.startswith(name[:-1]) if name.endswith("*") else module == name for name in names)


def _crcs(facts: ModuleFacts, exports: Mapping[str, Export]) -> Finding:
    """Imports that nobody exports are left to the rule `symbols`."""
    if not facts.versions:
        return Finding("crcs", False, "it has no symbol versions, and the kernel has modversions", _BAD_FORMAT)
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
        return Finding("crcs", False, " and ".join(faults), _BAD_FORMAT if _LAYOUT in other else _INVALID)
    return Finding("crcs", True, f"the CRCs of all {len(wanted)} symbols are the kernel's")


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(name[:_LONGEST] for name in sorted(names)[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
