"""The sandbox's packages, archived; and a build that takes its sources from there: same lock, cells and bytes."""

from __future__ import annotations

from collections.abc import Callable

from tests.harness.clone import AccessLogs, Clone

DRIVER, RELEASE = "2.22.2.0", "4.16.30"


def test_a_build_without_the_vendors_server(
    built: Clone, new_clone: Callable[[], Clone], access: AccessLogs, kernels: list[str]
) -> None:
    clone = new_clone()
    run = clone.doit("archive")
    assert run.code == 0 and "3 versions added, 3 in all" in run.out, run.text
    assert clone.doit("archive:verify").code == 0
    access.new()
    run = clone.doit("archive")
    asked = access.new()
    assert (run.code, len(asked), run.processes) == (0, 1, []), asked
    assert "GET /quick/repodata/repomd.xml" in asked[0] and " 304 " in asked[0]
    clone.edit("config/defaults.yaml", "source: repository", "source: archive")
    locks = built.build / "locks/neuron.json"
    run = clone.doit(f"build:{DRIVER}@{RELEASE}")
    assert run.code == 0, run.text
    assert [line for line in access.new() if "/quick/" in line] == []
    cell = f"{DRIVER}-{kernels[0]}"
    assert clone.record(cell, "image") == built.record(cell, "image")
    assert clone.record(cell, "module") == built.record(cell, "module")
    mine = (clone.build / "locks/neuron.json").read_text(encoding="utf-8")
    assert f'"{DRIVER}"' in mine
    theirs = locks.read_text(encoding="utf-8")
    assert mine.split(f'"{DRIVER}"')[1].split("}")[0] == theirs.split(f'"{DRIVER}"')[1].split("}")[0]
