"""The gate against modules that were really compiled in the toolkits, each breaking one rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from foundry.base.errors import FoundryError
from foundry.formats.modules.gate import check
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
        assert report.ok
        report.require()
        return
    assert case.rule in report.broken
    if not case.other_kernel:
        assert report.broken == (case.rule,)
    with pytest.raises(FoundryError) as raised:
        report.require()
    assert raised.value.reason == f"gate-{report.broken[0]}"
    assert raised.value.message


def test_there_is_a_case_for_every_rule() -> None:
    assert {case.rule for case in CASES.values()} == {"", "elf", "arch", "vermagic", "name", "symbols", "crcs"}


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
