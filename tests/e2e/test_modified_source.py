"""The README of a modified source, followed word for word by somebody who has nothing but the archive."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from foundry.base.versions import in_range, kernel_version
from foundry.config.patches import Patch, applying
from foundry.plan.releases import asset_name
from foundry.release.corresponding_source import (
    CorrespondingSource,
    Series,
    build_files,
    write_corresponding_source,
)
from foundry.run.context import Foundry, open_foundry
from tasks.session import sandbox
from tests.harness.clone import Clone

DRIVER = "2.28.0.0"


def modified_source(foundry: Foundry) -> CorrespondingSource:
    """The archive's facts, for all cells of the driver."""
    cells = [state.cell for state in foundry.states.cells.values() if state.cell.driver == DRIVER]
    family = cells[0].family
    package = foundry.config.locks.of(family.name).packages[DRIVER]
    series: dict[tuple[Patch, ...], list[str]] = {}
    for cell in cells:
        series.setdefault(applying(family.patches, DRIVER, cell.kernel), []).append(cell.kernel)
    return CorrespondingSource(
        title=family["title"], driver=DRIVER, package_name=package.name, package_url=package.url,
        package_sha256=package.content_sha256, package_license=package.license,
        tree=foundry.source_folder(DRIVER) / "tree",
        series=tuple(Series(tuple(kernels), patches) for patches, kernels in series.items()),
        files=build_files(foundry.root, family["containerfile"], family["licenses"]),
        recipe=foundry.config.recipe(family, DRIVER),
        toolkits={cell.kernel: cell.toolkit for cell in cells}, mtime=package.build_time,
    )


def environment(foundry: Foundry, folder: Path) -> dict[str, str]:
    """podman as this machine needs it, under its own name; it finds the sandbox's registry."""
    plain = shutil.which("podman")
    started = foundry.containers.engine.command("run")
    others, run = (shlex.join([str(plain), *words[1:]]) for words in (started[:started.index("run")], started))
    folder.mkdir()
    wrapper = folder / "podman"
    wrapper.write_text(f'#!/bin/sh\nif [ "$1" = run ]; then shift; exec {run} "$@"; fi\nexec {others} "$@"\n')
    wrapper.chmod(0o755)
    return {**os.environ, **foundry.containers.engine.environment(), "PATH": f"{folder}:{os.environ['PATH']}"}


def test_the_readme_makes_the_same_modules(
    new_clone: Callable[[], Clone], kernels: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For a kernel with a patch of its own, with the commands as they stand, and for one without."""
    clone = new_clone()
    clone.write("build-matrix.json", [{"driver": DRIVER, "ocp_versions": ["4.18.15", "4.18.16"]}])
    run = clone.doit("sign")
    assert run.code == 0, run.text
    for name, value in clone.environment().items():
        monkeypatch.setenv(name, value)
    foundry = open_foundry(clone.root, sandbox)
    source = modified_source(foundry)
    archive = tmp_path / asset_name(source.package_name, DRIVER)
    write_corresponding_source(archive, source)
    subprocess.run(["tar", "-xzf", archive.name], cwd=tmp_path, check=True)
    top = tmp_path / source.name
    text = (top / "README.md").read_text()
    commands = "".join(re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    [compare] = re.findall(r"^`(cmp .*)`$", text, re.MULTILINE)

    wanted = [kernel for kernel in kernels[1:] if in_range(kernel_version(kernel), ">=6.12")]
    example = f"KERNEL={wanted[-1]}"
    assert commands.startswith(f"{example}\n")
    place = environment(foundry, tmp_path / "bin")
    everywhere = "rhel-9.4-guard-since-2.23"
    for kernel, folder in ((wanted[-1], f"02-{everywhere}-and-1-more"), (kernels[1], f"01-{everywhere}")):
        argv = ["sh", "-eux", "-c", commands.replace(example, f"KERNEL={kernel}")]
        done = subprocess.run(argv, cwd=top, env=place, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"SERIES={folder}\n" in done.stderr, done.stderr
        built, cell = top / "rebuild/out", clone.cell(f"{DRIVER}-{kernel}")
        assert (built / "modules/neuron.ko").read_bytes() == (cell / "neuron.ko").read_bytes()
        signed = (cell / "signed/neuron.ko").read_bytes()
        for theirs, same in ((signed, True), (b"x" + signed[1:], False)):
            (tmp_path / "theirs.ko").write_bytes(theirs)
            found = subprocess.run(["sh", "-euc", compare], capture_output=True, check=False, env={
                **place, "OURS": str(built / "modules/neuron.ko"), "THEIRS": str(tmp_path / "theirs.ko")})
            assert (found.returncode == 0) == same, found
        for path in (cell / "depmod").iterdir():
            assert (built / "depmod" / path.name).read_bytes() == path.read_bytes()
        shutil.rmtree(top / "rebuild")
