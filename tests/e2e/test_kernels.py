"""`doit toolkit` in the sandbox: everything from nothing, kernels that the catalogue lacks, broken toolkits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from foundry.base.files import pretty_json
from tests.harness.clone import AccessLogs, Clone, registry_login, registry_port
from tests.harness.registry import Pusher, release_file, tar_of

RELEASE = "etc/driver-toolkit-release.json"
CATALOGUE = "build/sandbox/driver-toolkit.json"


def without_kernels(clone: Clone) -> None:
    """A catalogue as people write it: release, architecture, toolkit."""
    clone.write(CATALOGUE, [{name: entry[name] for name in ("version", "arch", "dtk")} for entry in clone.catalogue()])


def test_kernels_are_read_once_and_for_ever(
    new_clone: Callable[[], Clone], access: AccessLogs, kernels: list[str]
) -> None:
    """Three channels, and of the five releases in them: three requests a payload, two a toolkit, two a node image."""
    clone = new_clone()
    text = (clone.root / CATALOGUE).read_text()
    without_kernels(clone)
    clone.write(CATALOGUE, [entry for entry in clone.catalogue() if entry["version"] != "4.19.3"])
    run = clone.doit("build")
    assert run.code == 2
    assert f"{CATALOGUE}: 4.16: 2 releases without a kernel (4.16.30, 4.16.48): run `doit toolkit`" in run.err
    assert run.processes == []
    access.new()
    run = clone.doit("toolkit")
    assert run.code == 0, run.text
    assert [argv[0] for argv in run.processes] == ["gpgv"] * 5  # nothing is pulled
    assert len(access.new()) == 3 + 1 + 3 * 5 + 2 * len(kernels) + 2 * len(kernels)  # one is for the key of signatures
    whole = [entry for entry in json.loads(text) if entry["version"] != "4.19.3"]
    assert clone.catalogue() == whole
    run = clone.doit("toolkit")
    assert (run.code, len(run.connections), len(access.new())) == (0, 3 + 2, 3)  # and two to see that the sandbox is up
    without_kernels(clone)
    run = clone.doit("toolkit")
    assert run.code == 0, run.text
    assert len(access.new()) == 3 + 1 + 5  # what a digest holds never changes; who signed it is asked again
    assert clone.catalogue() == whole


def test_everything_is_found_from_nothing(new_clone: Callable[[], Clone]) -> None:
    """Catalogue and lock come out as the sandbox wrote them, byte for byte but for a checksum, from either list."""
    clone = new_clone()
    clone.write("build-matrix.json", [{"driver": "2.22.2.0", "ocp_versions": ["4.16", "4.17", "4.18", "4.19"]}])
    lock = clone.build / "locks/neuron.json"
    theirs = [path.read_bytes() for path in (clone.root / CATALOGUE, lock)]
    known = json.loads(theirs[1])
    assert known["base"]["busybox"].pop("sha256"), "Debian's archive tells it; the image and the templates do not"
    before = [theirs[0], pretty_json(known)]
    for source in ("graph", "tags"):
        clone.edit("config/profiles/sandbox.yaml", "\nreleases:\n", f"\nreleases:\n  source: {source}\n")
        clone.write(CATALOGUE, "[]\n")
        clone.write("build/sandbox/locks/neuron.json", {"schema": 1, "packages": {}})
        shutil.rmtree(clone.build / "toolkits", ignore_errors=True)
        run = clone.doit("toolkit")
        assert run.code == 0, run.text
        assert [path.read_bytes() for path in (clone.root / CATALOGUE, lock)] == before
        clone.edit("config/profiles/sandbox.yaml", f"  source: {source}\n", "")
    assert clone.doit("sandbox:up").code == 0
    assert [path.read_bytes() for path in (clone.root / CATALOGUE, lock)] == theirs, "the same form"


def test_a_toolkit_that_says_no_kernel(new_clone: Callable[[], Clone]) -> None:
    """It is named and left as it is; the others are read."""
    clone = new_clone()
    pusher = Pusher(f"127.0.0.1:{registry_port(clone.services)}", "broken-toolkit",
                    auth=registry_login(clone.services))
    made = pusher.image([tar_of({"usr/bin/gcc": b"x"})])
    without_kernels(clone)
    reference = f"registry.sandbox.internal/broken-toolkit@{made['digest']}"
    entries = [{"version": "4.14.1", "arch": "x86_64", "dtk": reference}, *clone.catalogue()]
    clone.write(CATALOGUE, entries)
    run = clone.doit("toolkit")
    assert run.code == 1, run.text
    assert "has no /etc/driver-toolkit-release.json" in run.text
    assert "hint:" in run.out
    assert made["digest"] in run.out
    assert "Traceback" not in run.text
    assert entries[0] in clone.catalogue()
    assert all("kernel" in entry for entry in clone.catalogue() if entry != entries[0])
    assert not list(clone.root.rglob(".driver-toolkit.json.*"))
    clone.write(CATALOGUE, entries[1:])
    run = clone.doit("toolkit")
    assert run.code == 0, run.text
    assert all("kernel" in entry for entry in clone.catalogue())


def test_a_toolkit_that_is_gone_and_a_registry_that_is_down(new_clone: Callable[[], Clone]) -> None:
    clone = new_clone()
    gone = f"registry.sandbox.internal/driver-toolkit@sha256:{'0' * 64}"
    down = f"127.0.0.1:1/kit@sha256:{'1' * 64}"
    for reference, text in ((gone, "has no driver-toolkit sha256:000"), (down, "can't be reached")):
        entries = [{"version": "4.14.30", "arch": "x86_64", "dtk": reference}]
        clone.write(CATALOGUE, entries)
        run = clone.doit("toolkit")
        assert run.code == 1, run.text
        assert text in run.text
        assert [entry for entry in clone.catalogue() if "kernel" not in entry] == entries
        assert "log: build/sandbox/toolkits/toolkit.log" in run.out


def test_a_hand_written_catalogue_is_enough_to_build(new_clone: Callable[[], Clone], kernels: list[str]) -> None:
    clone = new_clone()
    entry = next(entry for entry in clone.catalogue() if entry["version"] == "4.16.30")
    clone.write(CATALOGUE, [{name: entry[name] for name in ("version", "arch", "dtk")}])
    clone.write("build-matrix.json", [{"driver": "2.22.2.0", "ocp_versions": ["4.16"]}])
    assert clone.doit("toolkit").code == 0
    run = clone.doit("build")
    assert run.code == 0, run.text
    assert run.compiled == [kernels[0]]


def test_an_arm_toolkit_behind_an_index(new_clone: Callable[[], Clone]) -> None:
    clone = new_clone()
    pusher = Pusher(f"127.0.0.1:{registry_port(clone.services)}", "index-toolkit",
                    auth=registry_login(clone.services))
    images = {
        arch: pusher.image([tar_of({RELEASE: release_file(f"5.14.0-427.el9_4.{name}")})], arch=arch)
        for arch, name in (("amd64", "x86_64"), ("arm64", "aarch64"))
    }
    reference = f"registry.sandbox.internal/index-toolkit@{pusher.index(images)['digest']}"
    rows = [{"version": "4.14.30", "arch": arch, "dtk": reference} for arch in ("x86_64", "aarch64")]
    clone.write(CATALOGUE, [*clone.catalogue(), *rows])
    assert clone.doit("toolkit").code == 0
    assert [entry["kernel"] for entry in clone.catalogue()[:2]] == [
        "5.14.0-427.el9_4.aarch64", "5.14.0-427.el9_4.x86_64"]


def test_a_mismatch_is_built_by_force_alone(copied: Clone, kernels: list[str]) -> None:
    cell = f"2.22.2.0-{kernels[2]}"
    entries = copied.catalogue()
    copied.write(CATALOGUE, [
        {**entry, "node_kernel": "6.9.9", "mismatch": True} if entry["kernel"] == kernels[2] else entry
        for entry in entries])
    assert copied.status()[cell]["state"] == "built", "what is there is there"
    (copied.cell(cell) / "neuron.ko").unlink()
    row = copied.status()[cell]
    assert (row["state"], row["code"]) == ("pending", "kernel-mismatch")
    run = copied.doit("build")
    assert (run.code, run.compiled, run.imaged) == (0, [], 0), run.text
    assert f"warning: 4.18.16 x86_64: the toolkit is for {kernels[2]}, the nodes have 6.9.9" in run.out
    run = copied.doit("build:2.22.2.0@4.18.16", FORCE_BUILD="true")
    assert (run.code, run.compiled) == (0, [kernels[2]]), run.text
    assert copied.status()[cell]["state"] == "built"


def test_doctor_and_the_checks_before_work(copied: Clone, tmp_path: Path) -> None:
    done = copied.doit("doctor")
    assert done.code == 0, done.text
    for name in ("config", "podman", "gpgv", "rpmbuild", "container", "space", "clock", "registry"):
        assert any(line.split()[:2] == ["ok", name] for line in done.out.splitlines()), name
    assert "REGISTRY_AUTH_FILE" in done.out
    login = copied.services / "auth.json"
    whole = login.read_bytes()
    login.write_text("no JSON")
    try:
        done = copied.doit("doctor")
    finally:
        login.write_bytes(whole)
    assert done.code == 3
    assert f"the auth file {login} is no JSON" in done.out
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "env", "git"):
        (tools / name).symlink_to(f"/bin/{name}")
    done = copied.doit("build", FORCE_BUILD="true", PATH=str(tools))
    assert done.code == 3
    assert "error: podman is not installed" in done.err
    assert "hint: apt-get install --no-install-recommends podman" in done.err
    assert done.compiled == []
    assert "FAILED" not in done.out  # before any work
    done = copied.doit("build", PATH=str(tools))
    assert done.code == 0, "nothing to do needs no tool"
