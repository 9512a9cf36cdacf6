"""A cell that failed is compiled again where something changed, or where the machine was to blame; else it is said.

Counted are compile containers, processes and connections, never task states.
"""

from __future__ import annotations

import json

import pytest

from tests.harness.clone import AccessLogs, Clone, Run
from tests.harness.refusal import failures

DRIVER = "2.22.2.0"
PATCH = ("patches:\n  - id: breaks\n    why: a test\n    drivers: \">=2.20\"\n"
         "    edits: [{file: neuron_module.c, find: module_init(, replace: module_init((, matches: 1}]\n")


@pytest.fixture
def broken(copied: Clone, kernels: list[str]) -> Clone:
    """A clone in which one driver was tried and compiles for no kernel."""
    copied.edit("config/drivers/neuron.yaml", "patches:\n", PATCH)
    run = copied.doit(f"build:{DRIVER}")
    assert (run.code, run.compiled) == (1, sorted(kernels)), run.text
    return copied


def skipped(run: Run, clone: Clone, cells: list[str]) -> None:
    """No process, no connection; each cell is a failure, with its log and what to do."""
    assert (run.code, run.processes, run.connections) == (1, [], []), run.text
    said = failures(run)
    assert set(said) == {f"module:{cell}" for cell in cells}
    for cell in cells:
        failure = said[f"module:{cell}"]
        assert failure.sentence.startswith(f"not compiled again, as nothing changed since: {cell} does not compile: ")
        assert "neuron_module.c:" in failure.sentence
        assert f"`doit --retry-failed module:{cell}`" in failure.hint
        assert failure.log == f"build/sandbox/cells/{cell}/build.log"
        assert failure.replay.startswith("podman ")
        assert json.loads((clone.cell(cell) / "failure.json").read_text())["message"] in failure.sentence
    assert f"{len(cells)} failed" in run.out
    assert "compiling" not in run.out


def test_nothing_changed(broken: Clone, kernels: list[str], access: AccessLogs) -> None:
    cells = [f"{DRIVER}-{kernel}" for kernel in kernels]
    access.new()
    skipped(broken.doit("build"), broken, cells)
    skipped(broken.doit("build"), broken, cells)  # the first run left all that the second one needs
    skipped(broken.doit(f"module:{cells[0]}"), broken, cells[:1])
    assert access.new() == []
    assert {broken.status()[cell]["state"] for cell in cells} == {"failed"}
    listed = broken.doit("list", f"module:{cells[0]}").out
    assert listed.startswith("failed ")
    assert not broken.doit("list", "source").out.startswith("pending")


def test_sources_are_not_fetched_for_it(broken: Clone, kernels: list[str]) -> None:
    (broken.build / "sources").rename(broken.root / "elsewhere")
    skipped(broken.doit(f"build:{DRIVER}"), broken, [f"{DRIVER}-{kernel}" for kernel in kernels])


def test_others_are_compiled(broken: Clone, kernels: list[str]) -> None:
    """One known failure among others that are pending."""
    (broken.cell(f"{DRIVER}-{kernels[1]}") / "failure.json").unlink()
    run = broken.doit(f"build:{DRIVER}")
    assert (run.code, run.compiled) == (1, [kernels[1]])


def test_asked_for(broken: Clone, kernels: list[str]) -> None:
    run = broken.doit("--retry-failed", f"build:{DRIVER}")
    assert (run.code, run.compiled) == (1, sorted(kernels))
    run = broken.doit(f"module:{DRIVER}-{kernels[0]}", FORCE_BUILD="true")
    assert (run.code, run.compiled) == (1, [kernels[0]])


@pytest.mark.parametrize(("file", "old", "new"), [
    ("container/build-module.sh", "set -eu\n", "set -eu\n: anything\n"),
    ("config/drivers/neuron.yaml", "why: a test", "why: another try"),
    ("config/defaults.yaml", "compile_timeout: ", "compile_timeout: 1"),
    ("foundry/formats/modules/gate.py", '"""', '"""A newer version of this program. '),
], ids=["an input of the key", "the family file", "a limit", "the program"])
def test_anything_changed(broken: Clone, kernels: list[str], file: str, old: str, new: str) -> None:
    text = (broken.root / file).read_text()
    (broken.root / file).write_text(text.replace(old, new, 1))
    assert (broken.root / file).read_text() != text
    run = broken.doit(f"module:{DRIVER}-{kernels[0]}")
    assert (run.code, run.compiled) == (1, [kernels[0]]), run.text
    assert broken.doit(f"module:{DRIVER}-{kernels[0]}").compiled == []


def test_a_mended_driver(broken: Clone, kernels: list[str]) -> None:
    broken.edit("config/drivers/neuron.yaml", "replace: module_init((,", "replace: module_init(,")
    run = broken.doit(f"build:{DRIVER}")
    assert (run.code, run.compiled) == (0, sorted(kernels)), run.text


def test_the_machine_is_tried_again(copied: Clone, kernels: list[str]) -> None:
    """A compile that takes too long says nothing of the driver."""
    copied.edit("container/build-module.sh", "set -eu\n", "set -eu\nsleep 30\n")
    settings = (copied.root / "config/defaults.yaml").read_text().splitlines()
    limit = next(line for line in settings if line.startswith("compile_timeout: "))
    copied.edit("config/defaults.yaml", limit, "compile_timeout: 3")
    for _ in range(2):
        run = copied.doit(f"module:{DRIVER}-{kernels[0]}")
        assert (run.code, run.compiled) == (1, [kernels[0]]), run.text
        assert json.loads((copied.cell(f"{DRIVER}-{kernels[0]}") / "failure.json").read_text())["reason"] == "timeout"
