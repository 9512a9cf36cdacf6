"""`doit dtk:…` without building: the kernel list from node images, publishing, the ledger, the catalogue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import requests

from foundry.base.names import KEY_LABEL
from foundry.registry.document import Document, put_document
from foundry.toolkit.remote import MEDIA_TYPE, TAG
from tests.harness.clone import Clone, Run
from tests.harness.dtk import BASE, key_of, ledger, left_behind
from tests.harness.front import Front, says
from tests.harness.openshift import NEW, OLD, OpenShift
from tests.harness.registry import OCI_INDEX, Pusher, tar_of
from tests.integration.pushing import writer

REPOSITORY = "mine/toolkits"
ARM = OLD.replace("x86_64", "aarch64")
UBI = "registry.access.redhat.com/ubi9/ubi"


@pytest.fixture
def world(world: OpenShift) -> OpenShift:
    for minor in ("9.4", "9.6"):
        base(world, minor)
    return world


def base(world: OpenShift, minor: str, salt: str = "") -> str:
    """Red Hat's base image for a minor, in both architectures; its digest."""
    pusher = Pusher(world.registry.upstream, BASE)
    images = {arch: pusher.image([tar_of({"etc/os-release": f"{minor}{salt}".encode()})], arch=arch,
                                 created="2025-01-02T03:04:05Z") for arch in ("amd64", "arm64")}
    entries = [{**one, "platform": {"os": "linux", "architecture": arch}} for arch, one in images.items()]
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    return str(pusher.manifest(document, minor)["digest"])


@pytest.fixture
def repository(request: pytest.FixtureRequest) -> str:
    """A place of the test's own."""
    return f"{REPOSITORY}-{abs(hash(request.node.name)) % 10**8}"


def clone_of(world: OpenShift, folder: Path, repository: str, **settings: Any) -> Clone:
    addresses = dict.fromkeys(
        ("quay.io", "public.ecr.aws", "registry.access.redhat.com", "mine.internal"), world.registry.address)
    publish = {"registry": "mine.internal", "repository": repository}
    return world.clone(folder, addresses=addresses, toolkits={"publish": publish}, **settings)


def kernels(clone: Clone) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((clone.root / "driver-toolkit/kernels.json").read_text())
    return found


def done(clone: Clone, *args: str, **more: str) -> Run:
    run = clone.doit(*args, **more)
    assert run.code == 0, run.text
    return run


def refused(run: Run, code: int, *words: str) -> None:
    assert run.code == code and "Traceback" not in run.text, run.text
    for word in (*words, "hint: "):
        assert word in run.text, (word, run.text)


# -- the kernel list ---------------------------------------------------------


def test_all_z_streams_and_each_kernel_once(world: OpenShift, tmp_path: Path, repository: str) -> None:
    """Gaps in the numbering, releases that share a kernel, a second run that reads nothing."""
    for version, kernel in (("4.16.3", OLD), ("4.16.30", OLD), ("4.18.15", NEW)):
        world.release(version, "5.14.0-1.1.el9_1.x86_64", node=kernel)
    clone = clone_of(world, tmp_path, repository)
    done(clone, "dtk:kernels")
    found = kernels(clone)
    assert [(entry["version"], entry["kernel"]) for entry in found["releases"]] == [
        ("4.16.3", OLD), ("4.16.30", OLD), ("4.18.15", NEW)]
    assert sorted(found["bases"]) == [f"{UBI}:9.4", f"{UBI}:9.6"]
    run = done(clone, "dtk:matrix", "--json")
    assert run.out.count("\n") == 1
    assert [(row["kernel"], row["tag"], row["releases"], row["runner"], row["state"])
            for row in json.loads(run.out)["include"]] == [
        (OLD, "5.14.0-427.68.2.el9_4", ["4.16.3", "4.16.30"], "ubuntu-24.04", "pending"),
        (NEW, "5.14.0-570.12.1.el9_6", ["4.18.15"], "ubuntu-24.04", "pending")]
    before = (clone.root / "driver-toolkit/kernels.json").stat().st_mtime_ns
    world.registry.requests.clear()
    done(clone, "dtk:kernels")
    assert world.registry.requests == []
    assert (clone.root / "driver-toolkit/kernels.json").stat().st_mtime_ns == before


def test_what_can_not_be_trusted_changes_nothing(world: OpenShift, tmp_path: Path, repository: str) -> None:
    world.release("4.16.3", OLD)
    world.release("4.18.15", NEW)
    clone = clone_of(world, tmp_path, repository)
    done(clone, "dtk:kernels")
    before = kernels(clone)
    gone = world.payloads.pop(("4.18.15", "x86_64"))
    world.release("4.18.16", NEW)
    refused(clone.doit("dtk:kernels"), 3, "4.18.15 x86_64: in driver-toolkit/kernels.json", "--allow-shrink")
    world.payloads["4.18.15", "x86_64"] = gone
    world.release("4.18.17", NEW, more={"rhel-coreos": world.node({"ostree.linux": "true"}, salt="none")})
    refused(clone.doit("dtk:kernels"), 1, "4.18.17 x86_64 is left out of this refresh: no node image tells its kernel",
            "releases.exclude")
    assert [entry["version"] for entry in kernels(clone)["releases"]] == ["4.16.3", "4.18.15", "4.18.16"]
    before = kernels(clone)
    del world.payloads["4.18.17", "x86_64"]
    world.registry.always("/ubi9/ubi/", says(404))
    refused(clone.doit("dtk:kernels", "--update-base"), 3, f"the base {UBI}")
    assert kernels(clone) == before
    world.registry.standing.clear()
    del world.payloads["4.18.15", "x86_64"]
    done(clone, "dtk:kernels", "--allow-shrink")
    assert [entry["version"] for entry in kernels(clone)["releases"]] == ["4.16.3", "4.18.16"]
    assert list((clone.root / "driver-toolkit").glob(".*")) == []


def test_a_library_of_all_releases_since_a_minor(world: OpenShift, tmp_path: Path, repository: str) -> None:
    """Beside the minors of the matrix, and printed as the shell scripts had it where that is asked for."""
    for version, kernel in (("4.15.9", OLD), ("4.16.3", OLD), ("4.17.1", NEW), ("4.18.15", NEW)):
        world.release(version, kernel)
    world.release("4.17.1", ARM, arch="aarch64")
    world.release("4.18.15", ARM, arch="aarch64")
    clone = clone_of(world, tmp_path, repository, arch=["x86_64", "aarch64"])
    clone.write("build-matrix.json", [{"driver": "2.22.2.0", "ocp_versions": ["4.18"], "arch": ["x86_64"]}])
    clone.edit("config/defaults.yaml", 'since: ""', 'since: "4.16"')
    done(clone, "dtk:kernels")
    assert [entry["version"] for entry in kernels(clone)["releases"]] == [
        "4.16.3", "4.17.1", "4.17.1", "4.18.15", "4.18.15"]
    printed = json.loads(done(clone, "dtk:matrix", "--format", "seed").out)
    assert printed == {"versions": [
        {"rhel": "9.4", "kernel": OLD.removesuffix(".x86_64"), "archs": ["aarch64", "x86_64"]},
        {"rhel": "9.6", "kernel": NEW.removesuffix(".x86_64"), "archs": ["x86_64"]}]}
    refused(clone.doit("dtk:matrix", "--format", "other"), 2, "not one of seed")


def test_a_base_moves_when_it_is_told_to(world: OpenShift, tmp_path: Path, repository: str) -> None:
    world.release("4.16.3", OLD)
    clone = clone_of(world, tmp_path, repository, releases={"exclude": []})
    clone.write("build-matrix.json", [{"driver": "2.22.2.0", "ocp_versions": ["4.16"]}])
    done(clone, "dtk:kernels")
    old = kernels(clone)["bases"][f"{UBI}:9.4"]["digest"]
    left_behind(clone, OLD)
    done(clone, f"dtk:publish:{OLD}")
    new = base(world, "9.4", "newer")
    done(clone, "dtk:kernels")
    assert kernels(clone)["bases"][f"{UBI}:9.4"]["digest"] == old
    assert "nothing to do" in done(clone, f"dtk:publish:{OLD}").out
    run = done(clone, "dtk:kernels", "--update-base")
    assert f"{UBI}:9.4 is locked as {new}: its toolkits are made anew" in run.out
    [row] = json.loads(done(clone, "dtk:matrix", "--json").out)["include"]
    assert (row["state"], row["reason"]) == ("pending", "changed: the base image")
    left_behind(clone, OLD)
    done(clone, f"dtk:publish:{OLD}")
    assert ledger(clone)[OLD]["replaces"]["reason"] == "changed: the base image"


# -- publishing --------------------------------------------------------------


@pytest.fixture
def filled(world: OpenShift, tmp_path: Path, repository: str) -> Clone:
    """A checkout that knows one kernel, in both architectures."""
    world.release("4.16.3", OLD)
    world.release("4.16.3", ARM, arch="aarch64")
    clone = clone_of(world, tmp_path, repository, arch=["x86_64", "aarch64"])
    clone.write("build-matrix.json", [{"driver": "2.22.2.0", "ocp_versions": ["4.16"]}])
    done(clone, "dtk:kernels")
    return clone


def index(world: OpenShift, repository: str, tag: str = "5.14.0-427.68.2.el9_4") -> dict[str, str]:
    """Architecture → digest of what the tag has."""
    url = f"http://{world.registry.upstream}/v2/{repository}/manifests/{tag}"
    document = requests.get(url, headers={"Accept": OCI_INDEX}, timeout=30).json()
    return {one["platform"]["architecture"]: one["digest"] for one in document["manifests"]}


def test_one_tag_a_kernel_over_architectures(world: OpenShift, filled: Clone, repository: str) -> None:
    first = left_behind(filled, OLD)
    done(filled, f"dtk:publish:{OLD}")
    assert index(world, repository) == {"amd64": first}
    assert not (filled.build / "dtk" / OLD / "image").exists()
    second = left_behind(filled, ARM, "aarch64")
    run = done(filled, f"dtk:publish:{ARM}")
    assert index(world, repository) == {"amd64": first, "arm64": second}
    assert "sent 2 blobs" in run.out, "the layer that both have was there"
    assert {row["digest"] for row in ledger(filled).values()} == {first, second}
    world.registry.requests.clear()
    assert "nothing to do" in done(filled, "dtk:publish").out
    assert world.registry.requests == []


def test_a_fresh_checkout_asks_the_ledger_once(
    world: OpenShift, filled: Clone, tmp_path: Path, repository: str
) -> None:
    for kernel, arch in ((OLD, "x86_64"), (ARM, "aarch64")):
        left_behind(filled, kernel, arch)
    done(filled, "dtk:publish")
    fresh = filled.checkout(tmp_path / "fresh")
    world.registry.requests.clear()
    run = done(fresh, "dtk")
    assert not any("--tag" in " ".join(argv) for argv in run.podman("build")) and run.podman("pull") == []
    rows = ledger(fresh).values()
    asked = [path.rpartition("/")[2] for _, path, _ in world.registry.requests if "/blobs/" not in path]
    assert (asked[0], set(asked[1:]), len(asked)) == ("ledger", {row["digest"] for row in rows}, 1 + len(rows))
    assert world.registry.count("/blobs/") == len(rows), "each row is proven once, by the labels in its config"
    assert "nothing to do" in done(fresh, "dtk:publish").out
    assert json.loads((fresh.build / "dtk" / OLD / "dtk.json").read_text())["adopted"] is True


def test_a_lost_ledger_heals(world: OpenShift, filled: Clone, tmp_path: Path, repository: str) -> None:
    """What the tags have with today's key is adopted, by the task that needs it and by `dtk:ledger`."""
    for kernel, arch in ((OLD, "x86_64"), (ARM, "aarch64")):
        left_behind(filled, kernel, arch)
    done(filled, "dtk:publish")
    rows = ledger(filled)
    url = f"http://{world.registry.upstream}/v2/{repository}/manifests/"
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    lost = requests.get(f"{url}ledger", headers=accept, timeout=30).headers["Docker-Content-Digest"]
    assert requests.delete(f"{url}{lost}", timeout=30).status_code == 202
    fresh = filled.checkout(tmp_path / "fresh")
    run = done(fresh, "dtk:ledger")
    assert "2 toolkits, 2 of them new in the ledger; written" in run.out
    assert {kernel: row["digest"] for kernel, row in ledger(fresh).items()} == {
        kernel: row["digest"] for kernel, row in rows.items()}
    assert requests.get(f"{url}ledger", headers=accept, timeout=30).status_code == 200
    assert "as it was" in done(fresh, "dtk:ledger").out


def test_a_tag_of_somebody_else(world: OpenShift, filled: Clone, repository: str) -> None:
    theirs = Pusher(world.registry.upstream, repository).image([b"theirs"], tag="5.14.0-427.68.2.el9_4")["digest"]
    left_behind(filled, OLD)
    run = filled.doit(f"dtk:publish:{OLD}")
    refused(run, 1, theirs, "no index over architectures", "FORCE_BUILD=true")
    assert not (filled.build / "dtk/ledger.json").exists() or ledger(filled) == {}


@pytest.mark.parametrize("which", [0, 1, -1])
def test_a_blob_that_was_changed_does_not_go_out(filled: Clone, world: OpenShift, which: int) -> None:
    """Two documents and the layers: the image counts as gone, and is to be made anew."""
    left_behind(filled, OLD)
    blobs = {path: path.read_bytes() for path in (filled.build / "dtk" / OLD / "image/blobs/sha256").iterdir()}
    path = sorted(blobs, key=lambda path: not blobs[path].startswith(b"{"))[which]
    path.write_bytes(bytes([blobs[path][0] ^ 1]) + blobs[path][1:])
    world.registry.requests.clear()
    refused(filled.doit(f"dtk:publish:{OLD}"), 3, "its image is gone", "DTK_RHSM_ACTIVATION_KEY")
    assert not any(method in ("PUT", "PATCH") for method, *_ in world.registry.requests)


@pytest.mark.parametrize("kind", [
    "another registry", "no image", "another key", "another key of a row", "the future", "another kernel",
    "another architecture", "another tag"])
def test_a_forged_ledger_of_toolkits(
    world: OpenShift, filled: Clone, tmp_path: Path, repository: str, kind: str
) -> None:
    """Who can write the ledger's tag gets no toolkit of theirs into a catalogue, or adopted."""
    honest = left_behind(filled, OLD)
    done(filled, f"dtk:publish:{OLD}")
    row = ledger(filled)[OLD]
    evil = Pusher(world.registry.upstream, f"{repository}-evil").image(
        [b"evil"], labels={KEY_LABEL: row["key"]})["digest"]
    mine = Pusher(world.registry.upstream, repository).image([b"other"], labels={KEY_LABEL: "0" * 64})["digest"]
    forged, said = {
        "another registry": ({"registry": f"mine.internal/{repository}-evil", "digest": evil}, "it is in mine."),
        "no image": ({"digest": evil}, "there is no image"),
        "another key": ({"digest": mine}, "there is no image"),
        "another key of a row": ({"digest": mine, "key": "0" * 64}, "its key is not that of its inputs"),
        "the future": ({"published": "9999-01-01T00:00:00Z"}, "published in the future"),
        # what is published, under another name
        "another kernel": ({"kernel": NEW, "tag": NEW}, "its key is that of a toolkit for another kernel"),
        "another architecture": ({"arch": "aarch64"}, "its key is that of a toolkit for another architecture"),
        "another tag": ({"tag": NEW}, "its tag is not the kernel's"),
    }[kind]
    document = json.dumps({"schema": 1, "toolkits": [{**row, "published": "2026-11-01T00:00:00Z", **forged}]})
    put_document(writer(Front("", address=world.registry.upstream), repository), TAG, Document(document.encode()),
                 MEDIA_TYPE)
    fresh = filled.checkout(tmp_path / "fresh")
    run = done(fresh, "dtk:matrix", "--json")
    assert [one["state"] for one in json.loads(run.out)["include"] if one["kernel"] == OLD] == ["pending"]
    assert said in run.err, run.text
    run = done(fresh, "dtk:ledger")
    assert ledger(fresh)[OLD]["digest"] == honest, "what the tag has with today's key is adopted"
    run = done(filled, "dtk:ledger")
    assert ledger(filled)[OLD]["digest"] == honest


# -- the catalogue -----------------------------------------------------------


def test_a_catalogue_of_our_own_toolkits(world: OpenShift, tmp_path: Path, repository: str) -> None:
    """Nothing of the releases' own toolkits is read; a release whose kernel has no toolkit is left out."""
    toolkits = {version: world.release(version, kernel) for version, kernel in (("4.16.3", OLD), ("4.18.15", NEW))}
    clone = clone_of(world, tmp_path, repository, releases={"toolkits": "custom"})
    done(clone, "dtk:kernels")
    digests = {OLD: left_behind(clone, OLD)}
    done(clone, f"dtk:publish:{OLD}")
    refused(clone.doit("toolkit"), 1, "4.18.15 x86_64 is left out", f"no toolkit of kernel {NEW} is published",
            f"`doit dtk:publish:{NEW}`")
    assert [entry["version"] for entry in clone.catalogue()] == ["4.16.3"]
    digests[NEW] = left_behind(clone, NEW)
    done(clone, f"dtk:publish:{NEW}")
    world.registry.requests.clear()
    done(clone, "toolkit")
    assert [(entry["version"], entry["dtk"], entry["kernel"], entry["node_kernel"], entry["payload"])
            for entry in clone.catalogue()] == [
        (version, f"mine.internal/{repository}@{digests[kernel]}", kernel, kernel, toolkits[version])
        for version, kernel in (("4.16.3", OLD), ("4.18.15", NEW))]
    assert world.registry.count("/blobs/") == 0, "payloads and nodes were read for the kernel list"
    before = (clone.root / "driver-toolkit/driver-toolkit.json").stat().st_mtime_ns
    done(clone, "toolkit")
    assert (clone.root / "driver-toolkit/driver-toolkit.json").stat().st_mtime_ns == before


# -- what users get wrong ----------------------------------------------------


@pytest.mark.parametrize("kernel, code, words", [
    ("nonsense", 2, ["'nonsense' is no kernel"]),
    ("5.14.0-427.68.2.el9_4", 2, ["is no kernel with its architecture"]),
    (ARM, 2, ["is one for aarch64", "the setting `arch`"]),
    ("4.4.0-1-generic.x86_64", 2, ["no recipe makes toolkits for 4.4.0-1-generic.x86_64", "config/toolkits/"]),
])
def test_kernels_that_are_none_of_ours(
    world: OpenShift, tmp_path: Path, repository: str, kernel: str, code: int, words: list[str]
) -> None:
    clone = clone_of(world, tmp_path, repository)
    refused(clone.doit(f"dtk:{kernel}"), code, *words)
    assert not (clone.build / "dtk").exists()


def test_a_machine_of_another_architecture(filled: Clone) -> None:
    run = filled.doit(f"dtk:{ARM}")
    refused(run, 3, "is built on an aarch64 machine", "dtk:matrix")
    assert not any("--tag" in " ".join(argv) for argv in run.podman("build")) and run.podman("pull") == []


def test_no_list_and_no_place(world: OpenShift, tmp_path: Path, repository: str) -> None:
    clone = clone_of(world, tmp_path, repository)
    refused(clone.doit("dtk"), 2, "driver-toolkit/kernels.json: $.releases: names no kernel yet", "`doit dtk:kernels`")
    run = done(clone, "dtk:matrix", "--json")
    assert run.out == '{"include":[]}\n' and "`doit dtk:kernels`" in run.err
    world.release("4.16.3", OLD)
    world.release("4.18.15", NEW)
    nowhere = world.clone(tmp_path, addresses=dict.fromkeys(
        ("quay.io", "public.ecr.aws", "registry.access.redhat.com"), world.registry.address))
    done(nowhere, "dtk:kernels")
    left_behind(nowhere, OLD)
    refused(nowhere.doit(f"dtk:publish:{OLD}"), 2, "$.toolkits.publish: names no registry")
    refused(nowhere.doit("dtk:ledger"), 2, "$.toolkits.publish: names no registry")


def test_a_ledger_of_something_else(world: OpenShift, filled: Clone, repository: str) -> None:
    Pusher(world.registry.upstream, repository).image([b"no ledger"], tag="ledger")
    left_behind(filled, OLD)
    refused(filled.doit(f"dtk:publish:{OLD}"), 1, "is no document of type")


@pytest.mark.parametrize("change, words", [
    ({"base": "no tag"}, ["config/toolkits/ubi.yaml: $.base"]),
    ({"base": "quay.io/x/y:{minor}"}, ["unknown field {minor}"]),
    ({"arguments": {"KERNEL": "x"}}, ["config/toolkits/ubi.yaml: $.arguments"]),
    ({"containerfile": "container/none"}, ["$.containerfile: container/none does not exist"]),
    ({"secrets": {"rhsm_org": "not a variable"}}, ["$.secrets.rhsm_org"]),
])
def test_faulty_recipes(
    world: OpenShift, tmp_path: Path, repository: str, change: dict[str, Any], words: list[str]
) -> None:
    clone = clone_of(world, tmp_path, repository, toolkit_recipes={"ubi": change})
    refused(clone.doit("list"), 2, *words)


def test_the_key_is_over_all_that_it_is_built_from(filled: Clone) -> None:
    before = key_of(filled, OLD)
    assert key_of(filled, OLD) == before
    filled.edit("container/driver-toolkit/rpm.sh", "set -eu", "set -eu # changed")
    assert {name for name, value in key_of(filled, OLD).parts.items() if value != before.parts[name]} == {"recipe"}
    filled.edit("config/toolkits/ubi.yaml", "TOOLS: [make,", "TOOLS: [make, git,")
    changed = key_of(filled, OLD).parts
    assert {name for name, value in changed.items() if value != before.parts[name]} == {"recipe", "arguments"}
    filled.edit("config/toolkits/ubi.yaml", "rhsm_org: DTK_RHSM_ORG", "rhsm_org: OTHER")
    assert key_of(filled, OLD).parts == changed, "the names of secrets change nothing"
