"""The gate against modules that were really compiled in the toolkits, each breaking one rule."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from foundry.base.errors import FoundryError
from foundry.formats.modules.elf import read_module
from foundry.formats.modules.gate import RULES, GateReport, check
from foundry.formats.modules.symvers import Export, parse
from foundry.podman.engine import Engine
from tests.harness.clone import Clone, registry_port
from tests.integration.gatecases import Case, cases

CASES = {case.name: case for case in cases()}


class Toolkits:
    """The sandbox's toolkits, to run commands in."""

    def __init__(self, services: Clone, folder: Path) -> None:
        port = registry_port(services.services)
        self.engine = Engine(folder / "engine.json", {"registry.sandbox.internal": f"127.0.0.1:{port}"})
        catalogue = services.catalogue()
        self.references = {entry["kernel"]: entry["dtk"] for entry in catalogue}

    def run(self, kernel: str, folder: Path, command: list[str]) -> str:
        """What a command prints in the toolkit of a kernel, with `folder` at /probe."""
        reference = self.references[kernel]
        if not self.engine.has_image(reference):
            self.engine.pull(reference)
        with self.engine.container(str(folder)) as name:
            return self.engine.call(
                "run", f"--name={name}", "--rm", "--network=none", "--security-opt=label=disable",
                f"--volume={folder}:/probe", "--workdir=/probe", reference, *command,
            ).stdout


@pytest.fixture(scope="module")
def toolkits(services: Clone, tmp_path_factory: pytest.TempPathFactory) -> Toolkits:
    return Toolkits(services, tmp_path_factory.mktemp("engine"))


@pytest.fixture(scope="module")
def exports(toolkits: Toolkits, kernels: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Export]:
    """What the newest kernel exports."""
    path = f"/lib/modules/{kernels[-1]}/build/Module.symvers"
    return dict(parse(toolkits.run(kernels[-1], tmp_path_factory.mktemp("symvers"), ["cat", path]).encode()))


@pytest.mark.parametrize("name", CASES)
def test_each_rule(
    name: str, toolkits: Toolkits, exports: dict[str, Export], kernels: list[str], tmp_path: Path
) -> None:
    case: Case = CASES[name]
    asked = kernels[-1]
    built_for = kernels[0] if case.other_kernel else asked
    case.write(tmp_path)
    for command in case.commands(f"/lib/modules/{built_for}/build", "/probe"):
        toolkits.run(built_for, tmp_path, command)
    report = check(
        case.module_file(tmp_path), symvers=exports, modversions=None, kernel=case.asked.get("kernel", asked),
        expected_name=case.asked.get("expected_name", "probe"), arch=case.asked.get("arch", "x86_64"),
    )
    if not case.rule:
        report.require()
        assert report.ok and not report.depends
        return
    assert case.rule in report.broken
    if not case.other_kernel:
        assert report.broken == (case.rule,)
    with pytest.raises(FoundryError) as raised:
        report.require()
    assert raised.value.reason == f"gate-{report.broken[0]}"
    assert all(word in raised.value.message for word in case.words)
    assert "modprobe would say: " in raised.value.hint


def test_there_is_a_case_for_every_rule() -> None:
    assert {case.rule for case in CASES.values()} == {"", *RULES}


def test_names_of_symbols_that_are_long(
    toolkits: Toolkits, exports: dict[str, Export], kernels: list[str], tmp_path: Path
) -> None:
    """As kernels from 6.14 on write them, with names of any length; both lists must say the same."""
    case = CASES["good"]
    case.write(tmp_path)
    for command in case.commands(f"/lib/modules/{kernels[-1]}/build", "/probe"):
        toolkits.run(kernels[-1], tmp_path, command)
    versions = dict(read_module(case.module_file(tmp_path)).versions)
    for changed in (0, 1):
        crcs = b"".join(struct.pack("<I", crc ^ changed) for crc in versions.values())
        (tmp_path / "crcs").write_bytes(crcs)
        (tmp_path / "names").write_bytes(b"".join(name.encode() + b"\0" for name in versions))
        sections = [word for name in ("crcs", "names") for word in (
            f"--add-section=__version_ext_{name}={name}", f"--set-section-flags=__version_ext_{name}=alloc,readonly")]
        toolkits.run(kernels[-1], tmp_path, ["objcopy", *sections, "probe.ko", "long.ko"])
        report = check(tmp_path / "long.ko", symvers=exports, kernel=kernels[-1], expected_name="probe", arch="x86_64")
        assert report.broken == (("elf",) if changed else ())
    toolkits.run(kernels[-1], tmp_path, ["objcopy", "--rename-section=__versions=unused", "long.ko"])
    report = check(tmp_path / "long.ko", symvers=exports, kernel=kernels[-1], expected_name="probe", arch="x86_64")
    assert report.broken == ("crcs",)
    assert "another version of" in report.findings[-1].detail


def test_who_exports_what_it_imports(
    toolkits: Toolkits, exports: dict[str, Export], kernels: list[str], tmp_path: Path
) -> None:
    """The same module against kernels that have one of its symbols elsewhere, or for modules of some names alone."""
    case = CASES["gpl"]
    case.write(tmp_path)
    for command in case.commands(f"/lib/modules/{kernels[-1]}/build", "/probe"):
        toolkits.run(kernels[-1], tmp_path, command)

    def report(
        siblings: dict[str, Export] | None = None, module: str = "vmlinux", namespace: str = ""
    ) -> GateReport:
        one = exports["synchronize_rcu"]._replace(module=module, namespace=namespace)
        symvers = {**exports, "synchronize_rcu": one}
        return check(tmp_path / "probe.ko", symvers=symvers, kernel=kernels[-1], expected_name="probe", arch="x86_64",
                     siblings=siblings)

    in_tree = report(module="kernel/rcu/rcu-core")
    assert (in_tree.ok, in_tree.depends) == (True, ("rcu_core",))
    ours = {"synchronize_rcu": Export(1, "rcu-core", "EXPORT_SYMBOL_GPL", "")}
    beside = report(ours, module="kernel/rcu/rcu-core")
    assert (beside.broken, beside.depends) == (("crcs",), ()), "ours takes the place of the kernel's own"
    assert report(ours).ok, "what is built in has no other"
    for namespace, good in (("module:probe", True), ("module:kvm,pro*", True), ("module:kvm,probe-2,pr", False),
                            ("probe", False), ("module:*", True)):
        assert report(namespace=namespace).broken == (() if good else ("namespaces",)), namespace


def test_a_kernel_without_modversions(
    toolkits: Toolkits, exports: dict[str, Export], kernels: list[str], tmp_path: Path
) -> None:
    """Its Module.symvers has zeros in place of CRCs; a module that has none is right for it."""
    case = CASES["no-versions"]
    case.write(tmp_path)
    for command in case.commands(f"/lib/modules/{kernels[-1]}/build", "/probe"):
        toolkits.run(kernels[-1], tmp_path, command)
    module = tmp_path / "probe.ko"
    module.write_bytes(module.read_bytes().replace(b" modversions ", b" " * 13))
    zeros = {name: one._replace(crc=0) for name, one in exports.items()}
    report = check(module, symvers=zeros, kernel=kernels[-1], expected_name="probe", arch="x86_64")
    report.require()
    assert report.findings[-1].detail == "the kernel has no modversions"


def test_no_module_becomes_an_image_unless_it_passes(copied: Clone, kernels: list[str]) -> None:
    """Through the whole build: the family expects another name than the driver's module has."""
    cell = f"2.22.2.0-{kernels[0]}"
    copied.edit("config/drivers/neuron.yaml", "  - name: neuron\n", "  - name: other\n")
    run = copied.doit(f"image:{cell}")
    assert run.code == 1
    assert run.compiled == [kernels[0]]
    assert run.imaged == 0
    assert "gate" in run.text or "name" in run.text
    assert not (copied.cell(cell) / "module.json").exists()
    row = copied.status()[cell]
    assert row["state"] == "failed"
    assert row["reason"].startswith("gate-name: ")
    copied.edit("config/drivers/neuron.yaml", "  - name: other\n", "  - name: neuron\n")
    run = copied.doit(f"image:{cell}")
    assert (run.code, run.compiled, run.imaged) == (0, [kernels[0]], 0)
