"""Stage module: what the compile may do, what becomes of a failure, and that others go on."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from foundry.base.versions import in_range, kernel_version
from foundry.cell.compile_command import Places, compile_arguments
from foundry.config.recipe import Recipe
from foundry.podman.engine import Engine
from tests.harness.clone import ROOT, Clone
from tests.harness.refusal import no_container, refused

DRIVER = "2.22.2.0"
CHECKS = """\
set -eu
[ "$1" = compile ] && [ "$(id -u)" = 0 ] && { echo "foundry: the driver's code is root" >&2; exit 9; }
if touch /foundry/src/mark 2> /dev/null; then echo "foundry: the sources can be written" >&2; exit 9; fi
if touch /foundry/build-module.sh 2> /dev/null; then echo "foundry: the script can be written" >&2; exit 9; fi
grep -q '^CapEff:[[:space:]]*0000000000000000$' /proc/self/status || { echo "foundry: it has rights" >&2; exit 9; }
grep -q '^NoNewPrivs:[[:space:]]*1$' /proc/self/status || { echo "foundry: it can gain rights" >&2; exit 9; }
[ "$(ls /sys/class/net)" = lo ] || { echo "foundry: it has a network" >&2; exit 9; }
"""


def test_the_compile_is_confined(copied: Clone, kernels: list[str]) -> None:
    """No network, no rights, nothing of ours can be written: said by the script itself, inside."""
    copied.edit("container/build-module.sh", "set -eu\n", CHECKS)
    run = copied.doit(f"module:{DRIVER}-{kernels[0]}")
    assert run.code == 0, run.text
    assert run.compiled == [kernels[0]]


def test_a_checkout_with_an_odd_name(new_clone: Callable[..., Clone], kernels: list[str]) -> None:
    """podman's options, a shell's words and lists of paths have their own ideas of these."""
    clone = new_clone('a:b, "c" \\d\n$(e) é')
    run = clone.doit(f"image:{DRIVER}-{kernels[0]}")
    assert run.code == 0, run.text
    assert run.compiled == [kernels[0]]


def test_a_compile_error(copied: Clone, kernels: list[str]) -> None:
    """The compiler's first error, a log, a line that replays it, and the other cells all the same."""
    copied.edit("config/drivers/neuron.yaml", "patches:\n", (
        "patches:\n  - id: breaks\n    why: a test\n    drivers: \">=2.20\"\n    kernels: \"<6.2\"\n"
        "    edits: [{file: neuron_module.c, find: module_init(, replace: module_init((, matches: 1}]\n"
    ))
    (copied.cell(f"{DRIVER}-{kernels[2]}") / "neuron.ko").unlink()
    run = copied.doit(f"build:{DRIVER}")
    assert run.code == 1
    assert run.compiled == sorted(kernels)
    cell = f"{DRIVER}-{kernels[0]}"
    said = f"{cell} does not compile: neuron_module.c:"
    failure = refused(copied, run, f"module:{cell}", 1, "compile-failed", said, "error:", hint="replay")
    assert failure.log == f"build/sandbox/cells/{cell}/build.log"
    no_container(copied)
    states = copied.status()
    assert {states[f"{DRIVER}-{kernel}"]["state"] for kernel in kernels[:2]} == {"failed"}
    assert states[cell]["reason"].startswith("compile-failed: ")
    assert states[f"{DRIVER}-{kernels[2]}"]["state"] == "built"
    assert failure.replay.startswith("podman ")
    shell = subprocess.run(["bash", "-c", failure.replay], cwd="/", capture_output=True, text=True, check=False)
    assert shell.returncode not in (0, 125, 126, 127), shell.stderr
    first = failure.sentence.partition("does not compile: ")[2]
    assert first in (shell.stdout + shell.stderr).replace("/foundry/work/", ""), "it is the same error"
    no_container(copied)
    copied.edit("config/drivers/neuron.yaml", "replace: module_init((,", "replace: module_init(,")
    run = copied.doit(f"image:{cell}")
    assert run.code == 0, run.text
    assert not (copied.cell(cell) / "failure.json").exists()


def test_a_patch_that_does_not_fit(copied: Clone, kernels: list[str]) -> None:
    copied.edit("config/drivers/neuron.yaml", "        matches: 2\n", "        matches: 7\n")
    run = copied.doit(f"build:{DRIVER}")
    assert (run.code, run.compiled) == (1, [])
    for kernel in kernels:
        task = f"module:{DRIVER}-{kernel}"
        refused(copied, run, task, 1, "patch-mismatch", "2 times, expected 7", hint="correct the patch")
    assert {row["state"] for row in copied.status().values() if row["driver"] == DRIVER} == {"failed"}


def test_sources_changed_by_hand(copied: Clone, kernels: list[str]) -> None:
    path = copied.build / "sources" / DRIVER / "tree/neuron_module.c"
    path.chmod(0o644)
    path.write_text(path.read_text() + "\n")
    (copied.cell(f"{DRIVER}-{kernels[0]}") / "neuron.ko").unlink()
    run = copied.doit(f"build:{DRIVER}")
    assert (run.code, run.compiled) == (1, [])
    assert "were changed by hand" in run.out


def test_patches_by_kernel_apply_where_they_are_needed(new_clone: Callable[[], Clone], kernels: list[str]) -> None:
    """Version 2.28.0.0 compiles for Linux 6.12 and later with its patch alone, and does not get it for older ones."""
    clone = new_clone()
    clone.write("build-matrix.json", [{"driver": "2.28.0.0", "ocp_versions": ["4.18.15", "4.18.16"]}])
    run = clone.doit("build")
    assert run.code == 0, run.text
    name = "no-llseek-removed"
    info = clone.doit("info", "build:2.28.0.0")
    assert info.code == 0
    assert "not needed  rhel-9.6-unmapped-area" in info.out
    needed = []
    for kernel in kernels[1:3]:
        record = clone.record(f"2.28.0.0-{kernel}", "module")
        found = [one["matches"] for one in record["patches"] if one["patch"] == name]
        if in_range(kernel_version(kernel), ">=6.12"):
            needed.append(kernel)
            assert found == [1]
            assert f"applied     {name}: Linux 6.12 no longer has no_llseek" in info.out
            assert "'.llseek = no_llseek,' found 1 of 1 times" in info.out
        else:
            assert found == []
            assert record["patches_inert"][name] == f"kernel {kernel_version(kernel)} is not >=6.12"
            assert f"not needed  {name}: kernel {kernel_version(kernel)} is not >=6.12" in info.out
    assert needed, "the sandbox has a kernel that needs the patch"
    clone.edit("config/profiles/sandbox.yaml", 'kernels: ">=6.12"', 'kernels: ">=99"')
    run = clone.doit(f"module:2.28.0.0-{needed[0]}")
    assert run.code == 1
    assert "no_llseek" in run.out


@pytest.mark.parametrize("user", ["0", "64999"])
def test_a_toolkit_that_lacks_the_link_to_its_build_tree(user: str, services: Clone, tmp_path: Path) -> None:
    """It has /usr/src/kernels alone: a user who can't make the link is given the tree itself."""
    entry = services.catalogue()[0]
    state = json.loads((services.services / "state.json").read_text())
    engine = Engine(services.services / "engine" / "engine.json",
                    {"registry.sandbox.internal": state["registry"]["address"]})
    engine.pull(entry["dtk"])
    kernel, source = entry["kernel"], tmp_path / "src"
    source.mkdir()
    (source / "Makefile").write_text("all:\n\t@test -e $(TREE)/Makefile && echo tree=$(TREE) for $$(uname -r)\n")
    (tmp_path / "work").mkdir()
    (tmp_path / "work").chmod(0o777)
    (tmp_path / "Containerfile").write_text(
        f"FROM {entry['dtk']}\nRUN mkdir -p /usr/src/kernels/{kernel} && touch /usr/src/kernels/{kernel}/Makefile"
        f" && rm /lib/modules/{kernel}/build\n")
    places = Places(script=str(ROOT / "container/build-module.sh"), source=str(source), work=str(tmp_path / "work"))
    with engine.temporary_image(f"no link {user}") as image:
        engine.call("build", "--quiet", "--pull=never", f"--tag={image}", str(tmp_path))
        arguments = compile_arguments(
            places, recipe=Recipe((), ("make", "TREE={kernel_build}", "all")), kernel=kernel, arch=entry["arch"],
            toolkit=image, jobs="1", user=user,
        )
        done = engine.call("run", *arguments)
    tree = f"/lib/modules/{kernel}/build" if user == "0" else f"/usr/src/kernels/{kernel}"
    assert f"tree={tree} for {kernel}\n" in done.stdout
