"""`doit dtk` on Debian's kernels: built, gated, published, in the catalogue, and used by a whole `doit build`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from tests.harness.clone import AccessLogs, Clone
from tests.harness.dtk import ledger

PROFILE = "config/profiles/sandbox.yaml"


def test_a_library_from_nothing(
    new_clone: Callable[[], Clone], kernels: list[str], access: AccessLogs, tmp_path: Path
) -> None:
    """Two releases with one kernel: one toolkit, and modules that are compiled in it, from the registry."""
    clone = new_clone()
    clone.write("build-matrix.json", [{"driver": "2.22.2.0", "ocp_versions": ["4.16"]}])
    clone.edit(PROFILE, "releases:\n  graph:", "releases:\n  toolkits: custom\n  graph:")
    clone.write("build/sandbox/driver-toolkit.json", [])
    kernel = kernels[0]

    assert clone.doit("dtk:kernels").code == 0
    [row] = json.loads(clone.doit("dtk:matrix", "--json").out)["include"]
    assert (row["kernel"], row["releases"], row["state"]) == (kernel, ["4.16.30", "4.16.48"], "pending")

    run = clone.doit("dtk")
    assert run.code == 0, run.text
    record = json.loads((clone.build / "dtk" / kernel / "dtk.json").read_text())
    assert record["gate"]["ok"] and record["labels"]["driver-toolkit.compiler.match"] == "exact"
    assert record["labels"]["kernel-version"] == kernel
    assert [argv for argv in run.processes if argv[0] == "podman" and "push" in argv] == [], "build never pushes"
    assert not (clone.build / "dtk/ledger.json").exists() or ledger(clone) == {}
    again = clone.doit("dtk")
    assert (again.code, again.processes, again.connections) == (0, [], []), again.text

    assert clone.doit("dtk:publish").code == 0
    digest = ledger(clone)[kernel]["digest"]
    assert digest == record["digest"]
    access.new()
    again = clone.doit("dtk:publish")
    assert (again.code, again.processes, access.new()) == (0, [], []), again.text

    run = clone.doit("toolkit")
    assert run.code == 0, run.text
    entries = clone.catalogue()
    assert [(entry["version"], entry["kernel"], entry["dtk"]) for entry in entries] == [
        (version, kernel, f"registry.sandbox.internal/{clone.repository}-dtk@{digest}")
        for version in ("4.16.30", "4.16.48")]
    run = clone.doit("build")
    assert run.code == 0, run.text
    assert run.compiled == [kernel]
    assert any(argv[-1].endswith(digest) for argv in run.podman("pull"))
    assert clone.record(f"2.22.2.0-{kernel}", "module")["toolkit"].endswith(digest)


def test_a_kernel_that_debian_lacks(new_clone: Callable[[], Clone], kernels: list[str]) -> None:
    clone = new_clone()
    kernel = "6.1.0-9999-cloud-amd64"
    run = clone.doit(f"dtk:{kernel}")
    assert run.code == 3 and "Traceback" not in run.text, run.text
    assert f"the archive has no kernel {kernel}; the newest that it has: " in run.text and "hint:" in run.text
    folder = clone.build / "dtk" / kernel
    assert json.loads((folder / "failure.json").read_text())["reason"] == "kernel-missing"
    assert sorted(os.listdir(folder)) == ["build.log", "failure.json"]


def test_a_toolkit_that_can_compile_nothing_is_not_kept(new_clone: Callable[[], Clone], kernels: list[str]) -> None:
    clone = new_clone()
    hello = clone.root / "container/driver-toolkit/hello/hello.c"
    hello.write_text(hello.read_text().replace("#include <linux/slab.h>", "#include <linux/no-such-header.h>"))
    kernel = kernels[0]
    run = clone.doit(f"dtk:publish:{kernel}", FORCE_BUILD="true")
    assert run.code == 1 and "no-such-header.h" in run.text, run.text
    assert f"the toolkit of {kernel} compiles no module" in run.text
    folder = clone.build / "dtk" / kernel
    assert sorted(os.listdir(folder)) == ["build.log", "failure.json"]
    assert ledger(clone) == {}
