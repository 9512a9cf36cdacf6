"""`doit toolkit`: payloads, toolkits and node images in a real registry, and all that can be wrong with them."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from foundry.config.locks import Base, BusyBox
from foundry.plan.locks import merged_base
from tests.harness.clone import Clone
from tests.harness.front import Asked, Fault, pass_on, says, send
from tests.harness.openshift import (
    CATALOGUE,
    IMAGES,
    META,
    NEW,
    OLD,
    PAYLOADS,
    REFERENCES,
    TOOLKIT_FILE,
    OpenShift,
    failed,
    filler,
    image_stream,
    openshift,
    packages,
    untouched,
    with_hard_link,
)
from tests.harness.registry import Pusher, htpasswd, real_registry, release_file, tar_of, token_issuer
from tests.harness.secrets import PASSWORD, USER

RT = "5.14.0-427.68.2.el9_4.x86_64+rt"


def toolkit(clone: Clone) -> None:
    run = clone.doit("toolkit")
    assert run.code == 0, run.text


def test_an_entry_has_all_that_there_is(world: OpenShift, tmp_path: Path) -> None:
    world.release("4.16.30", OLD, rt=RT)
    clone = world.clone(tmp_path, ["4.16"])
    toolkit(clone)
    [entry] = clone.catalogue()
    assert entry | {"dtk": "", "payload": ""} == {
        "version": "4.16.30", "arch": "x86_64", "dtk": "", "kernel": OLD, "rt_kernel": RT, "rhel": "9.4", "payload": "",
        "node_kernel": OLD,
    }


@pytest.mark.parametrize("labels, files, found", [
    ({"com.coreos.rpm.kernel": OLD}, {}, OLD),
    ({"com.coreos.rpm.kernel": OLD.removesuffix(".x86_64")}, {}, OLD),
    ({"ostree.linux": NEW}, {}, NEW),
    ({"ostree.linux": "true", "io.openshift.metalayer": "true"}, {META: packages(NEW)}, NEW),
    ({"io.openshift.metalayer": "true"}, {META: b"no JSON"}, None),
    ({"ostree.linux": "true"}, {META: packages(NEW)}, None),
    ({}, {}, None),
])
def test_the_kernel_of_the_nodes(world: OpenShift, tmp_path: Path, labels: dict[str, str], files: dict[str, bytes],
                                 found: str | None) -> None:
    world.release("4.16.30", OLD, more={"rhel-coreos": world.node(labels, files=files)})
    clone = world.clone(tmp_path, ["4.16"])
    run = clone.doit("toolkit")
    assert run.code == 0, run.text
    [entry] = clone.catalogue()
    assert entry.get("node_kernel") == found
    assert entry.get("mismatch", False) is (found == NEW)
    assert ("no node image tells its kernel" in run.out) is (found is None)


def test_two_streams(world: OpenShift, tmp_path: Path) -> None:
    """A payload with a second operating system has two entries, and two cells a driver."""
    ten = "6.12.0-55.9.1.el10_0.x86_64"
    world.release("5.0.1", OLD, more={"driver-toolkit-10": world.toolkit(ten),
                                      "rhel-coreos-10": world.node({"ostree.linux": ten})})
    clone = world.clone(tmp_path, ["5.0"])
    toolkit(clone)
    rows = [(entry["stream"], entry["kernel"], entry["node_kernel"]) for entry in clone.catalogue()]
    assert rows == [("driver-toolkit", OLD, OLD), ("driver-toolkit-10", ten, ten)]
    assert sorted(row["kernel"] for row in clone.status().values()) == sorted([OLD, ten])
    with untouched(clone):
        toolkit(clone)


def test_a_mismatch_is_kept_shown_and_not_built(world: OpenShift, tmp_path: Path) -> None:
    """The release with the nodes' kernel is built; the other one only by force."""
    world.release("4.16.30", OLD)
    world.release("4.18.15", NEW, node=OLD)
    clone = world.clone(tmp_path)
    run = clone.doit("toolkit")
    text = f"4.18.15 x86_64: the toolkit is for {NEW}, the nodes have {OLD}"
    assert f"warning: {text}" in run.out
    assert [entry.get("mismatch") for entry in clone.catalogue()] == [None, True]
    rows = clone.status()
    assert {name: (row["state"], row["code"]) for name, row in rows.items()} == {
        f"2.22.2.0-{OLD}": ("pending", "not-fetched"), f"2.22.2.0-{NEW}": ("pending", "kernel-mismatch")}
    assert rows[f"2.22.2.0-{NEW}"]["reason"] == f"{text}; FORCE_BUILD builds it"
    status = clone.doit("status")
    assert ["4.18.15", "mismatch"] in [line.split() for line in status.out.splitlines()]
    assert text in status.out
    listed = clone.doit("list")
    assert f"warning: {text}" in listed.err
    assert NEW not in listed.out
    assert f"image:2.22.2.0-{NEW}" in clone.doit("list", FORCE_BUILD="1").out
    narrowed = clone.doit("build:2.22.2.0@4.18")
    assert narrowed.code == 2
    assert text in narrowed.err
    world.registry.requests.clear()
    with untouched(clone):
        toolkit(clone)
    assert world.registry.requests == []


def test_a_mismatch_beside_a_fitting_release_of_the_same_kernel(world: OpenShift, tmp_path: Path) -> None:
    world.release("4.16.30", OLD)
    world.release("4.16.31", OLD, node=NEW)
    clone = world.clone(tmp_path, ["4.16"])
    toolkit(clone)
    [row] = clone.status().values()
    assert (row["kernel"], row["releases"], row["code"]) == (OLD, ["4.16.30"], "not-fetched")
    [row] = json.loads(clone.doit("status", "--json", FORCE_BUILD="1").out)
    assert row["releases"] == ["4.16.30", "4.16.31"]


def test_hand_written_entries_are_completed_in_place(world: OpenShift, tmp_path: Path) -> None:
    """Of wanted releases with all facts; of others with the kernel; a mirror's name stays."""
    world.release("4.16.30", OLD)
    clone = world.clone(tmp_path, ["4.16"])
    toolkit(clone)
    [whole] = clone.catalogue()
    mirror = whole["dtk"].replace("quay.io", "public.ecr.aws")
    old = world.toolkit(OLD, salt="old")
    clone.write(CATALOGUE, [{"version": "4.16.30", "arch": "x86_64", "dtk": mirror},
                            {"version": "4.14.1", "arch": "x86_64", "dtk": old}])
    toolkit(clone)
    assert clone.catalogue() == [
        {"version": "4.14.1", "arch": "x86_64", "dtk": old, "kernel": OLD, "rhel": "9.4"}, {**whole, "dtk": mirror}]


def test_what_was_written_by_hand_and_is_wrong_is_corrected_and_said(world: OpenShift, tmp_path: Path) -> None:
    world.release("4.16.30", OLD)
    clone = world.clone(tmp_path, ["4.16"])
    clone.write(CATALOGUE, [
        {"version": "4.16.30", "arch": "x86_64", "dtk": world.toolkit(NEW), "kernel": NEW, "rt_kernel": RT}])
    run = clone.doit("toolkit")
    assert run.code == 0, run.text
    assert f"warning: 4.16.30 x86_64: kernel was {NEW}, and is {OLD}" in run.out
    assert f"warning: 4.16.30 x86_64: rt_kernel was {RT}, and is gone" in run.out
    assert clone.catalogue()[0]["kernel"] == OLD
    assert "rt_kernel" not in clone.catalogue()[0]


def bad_payload(content: bytes) -> Callable[[OpenShift], None]:
    def make(world: OpenShift) -> None:
        world.payloads["4.18.15", "x86_64"] = world.push([tar_of({REFERENCES: content})], repository=PAYLOADS)

    return make


def bad_layer(damage: Callable[[bytes], bytes], repository: str) -> Callable[[OpenShift], None]:
    def make(world: OpenShift) -> None:
        content = {REFERENCES: image_stream({"driver-toolkit": world.toolkit(NEW)}), "x": filler(1 << 17)} \
            if repository == PAYLOADS else {"x": filler(1 << 17), TOOLKIT_FILE: release_file(NEW)}
        bad = world.push([damage(gzip.compress(tar_of(content), mtime=0))], repository=repository)
        world.payloads["4.18.15", "x86_64"] = bad if repository == PAYLOADS else world.payload({"driver-toolkit": bad})

    return make


def toolkit_with(content: bytes) -> Callable[[OpenShift], None]:
    def make(world: OpenShift) -> None:
        bad = world.push([tar_of({TOOLKIT_FILE: content})])
        world.payloads["4.18.15", "x86_64"] = world.payload({"driver-toolkit": bad})

    return make


def nobody_has(world: OpenShift) -> None:
    world.payloads["4.18.15", "x86_64"] = world.payload(
        {"driver-toolkit": f"quay.io/{IMAGES}@sha256:{'0' * 64}"})


def other_bytes(world: OpenShift) -> None:
    world.release("4.18.15", NEW)
    digest = world.payloads["4.18.15", "x86_64"].partition("@")[2]
    world.registry.always(digest, says(200, b'{"schemaVersion":2}', Content_Type="application/json"))


def other_layer(status: int) -> Callable[[OpenShift], None]:
    """Other bytes, as many as there should be, in the place of a toolkit's last layer."""
    def make(world: OpenShift) -> None:
        good, bad = tar_of({TOOLKIT_FILE: release_file(NEW)}), tar_of({TOOLKIT_FILE: release_file(OLD)})
        toolkit = world.push([tar_of({"etc/x": b"x"}), good])
        world.payloads["4.18.15", "x86_64"] = world.payload({"driver-toolkit": toolkit})
        more = {"Content_Range": f"bytes 0-{len(bad) - 1}/{len(good)}"} if status == 206 else {}
        fault: Fault = lambda handler: send(handler, status, bad, **more)  # noqa: E731
        world.registry.always(hashlib.sha256(good).hexdigest(), fault)

    return make


def cut(data: bytes) -> bytes:
    return data[:2000]


BAD = {
    "no toolkit": (bad_payload(image_stream({"cli": f"quay.io/a/b@sha256:{'1' * 64}"})), "it has no driver-toolkit"),
    "by tag": (bad_payload(image_stream({"driver-toolkit": "quay.io/a/b:latest"})), "driver-toolkit is no image by"),
    "no JSON": (bad_payload(b"<html>"), "it is no JSON"),
    "no stream": (bad_payload(b'{"kind":"List"}'), "it is no ImageStream"),
    "no release": (bad_payload(b'{"kind":"ImageStream","spec":{"tags":[]}}'), "does not name its release"),
    "twice": (bad_payload(b'{"kind":"ImageStream","spec":{"tags":[{"name":"a"},{"name":"a"}]}}'), "'a' is there twice"),
    "no references": (lambda world: world.payloads.update({("4.18.15", "x86_64"): world.push(
        [tar_of({"etc/x": b"x"})], repository=PAYLOADS)}), f"has no /{REFERENCES}"),
    "payload no gzip": (bad_layer(lambda data: b"\x1f\x8b" + filler(5000), PAYLOADS), "the layer"),
    "payload ends early": (bad_layer(lambda data: data[:200], PAYLOADS), "the layer"),
    "toolkit no gzip": (bad_layer(lambda data: filler(5000), IMAGES), "the layer"),
    "toolkit ends early": (bad_layer(cut, IMAGES), "the layer"),
    "no kernel": (toolkit_with(release_file("error: package kernel-core is not installed")), "is no kernel"),
    "other architecture": (toolkit_with(release_file(NEW.replace("x86_64", "aarch64"))), "not for x86_64"),
    "malformed": (toolkit_with(b"[]"), "is malformed"),
    "missing": (nobody_has, "quay.io has no openshift-release-dev/ocp-v4.0-art-dev sha256:0000"),
    "other bytes": (other_bytes, "arrives as"),
    "other bytes of a layer": (other_layer(206), "arrives as"),
    "other bytes without ranges": (other_layer(200), "arrives as"),
}


NOT_TRUSTED = [case for case in BAD if case.startswith("other bytes")]


@pytest.mark.parametrize("case", [case for case in BAD if case not in NOT_TRUSTED])
def test_a_release_that_can_not_be_read_holds_up_no_other(world: OpenShift, tmp_path: Path, case: str) -> None:
    """It alone is left out, by name; what was known of it stays, and the exit code says that something is missing."""
    make, words = BAD[case]
    world.release("4.18.15", OLD)
    clone = world.clone(tmp_path)
    world.release("4.16.30", OLD)
    toolkit(clone)
    known = clone.catalogue()[1]
    make(world)
    world.release("4.16.31", NEW)
    run = clone.doit("toolkit")
    failed(run, 1, "4.18.15 x86_64 is left out of this refresh: ", words, "`releases.exclude`")
    assert "FAILED toolkit: 4.18.15 x86_64: left out" in run.out
    assert [entry["version"] for entry in clone.catalogue()] == ["4.16.30", "4.16.31", "4.18.15"]
    assert clone.catalogue()[2] == known
    clone.edit("config/profiles/local.yaml", "releases:\n", "releases:\n  exclude: [4.18.15]\n")
    world.registry.requests.clear()
    toolkit(clone)
    assert clone.catalogue()[2] == known
    assert world.registry.requests == [], "what was read is kept"


@pytest.mark.parametrize("case", NOT_TRUSTED)
def test_bytes_that_are_not_to_be_trusted_change_nothing(world: OpenShift, tmp_path: Path, case: str) -> None:
    make, words = BAD[case]
    world.release("4.16.30", OLD)
    make(world)
    clone = world.clone(tmp_path)
    with untouched(clone):
        run = clone.doit("toolkit")
    failed(run, 3, "FAILED toolkit: 4.18.15 x86_64: ", words)


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_one_image_that_its_registry_does_not_give(world: OpenShift, tmp_path: Path, status: int) -> None:
    """The registry gives the others, so it is neither down nor without credentials."""
    payload = world.release("4.18.15", OLD)
    for number in range(4):
        world.release(f"4.16.{number}", OLD)
    clone = world.clone(tmp_path, network_timeout=3)
    world.registry.always(payload.partition("@")[2], says(status))
    failed(clone.doit("toolkit"), 1, "4.18.15 x86_64 is left out of this refresh: ", "`releases.exclude`")
    assert [entry["version"] for entry in clone.catalogue()] == [f"4.16.{number}" for number in range(4)]


def test_a_registry_that_goes_down_in_the_middle_changes_nothing(world: OpenShift, tmp_path: Path) -> None:
    world.release("4.16.0", OLD)
    clone = world.clone(tmp_path, ["4.16"], network_timeout=3)
    toolkit(clone)
    for number in range(1, 10):
        world.release(f"4.16.{number}", NEW)
    world.registry.always("/v2/", says(500))
    with untouched(clone):
        failed(clone.doit("toolkit"), 3, "500")


@pytest.mark.parametrize("status, words", [
    (401, ("quay.io refuses", "QUAY_AUTH_FILE", "console.redhat.com/openshift/install/pull-secret")),
    (403, ("quay.io refuses", "QUAY_AUTH_FILE", "console.redhat.com/openshift/install/pull-secret")),
    (404, ("quay.io has no",)), (429, ("429",)), (500, ("500",)),
])
def test_a_registry_that_does_not_give_changes_nothing(world: OpenShift, tmp_path: Path, status: int,
                                                       words: tuple[str, ...]) -> None:
    world.release("4.16.30", OLD)
    clone = world.clone(tmp_path, ["4.16"], network_timeout=3)
    world.registry.always(f"/v2/{IMAGES}/", says(status, Retry_After="600" if status == 429 else ""))
    with untouched(clone):
        run = clone.doit("toolkit")
    failed(run, 1 if status == 404 else 3, "4.16.30 x86_64: ", *words)


def test_a_registry_under_load_is_given_the_pause_that_it_asks_for(world: OpenShift, tmp_path: Path) -> None:
    """All threads keep it, not only the one that was told."""
    for number in range(8):
        world.release(f"4.16.{number}", OLD)
    clone = world.clone(tmp_path, ["4.16"])
    world.registry.requests.clear()
    world.registry.after(f"/v2/{IMAGES}/", 3, says(429, Retry_After="2"))
    started = time.monotonic()
    toolkit(clone)
    assert time.monotonic() - started > 2
    assert len(clone.catalogue()) == 8


def test_requests_at_once_are_bounded(world: OpenShift, tmp_path: Path) -> None:
    for number in range(12):
        world.release(f"4.16.{number}", OLD)
    now = most = 0

    def slow(handler: Asked) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        time.sleep(0.05)
        now -= 1
        send(handler, 503, b"")

    clone = world.clone(tmp_path, ["4.16"], releases={"parallel": 3}, network_timeout=2)
    world.registry.always("/v2/", slow)
    with untouched(clone):
        failed(clone.doit("toolkit"), 3, "503")
    assert most == 3


def test_a_token_that_ends_in_the_middle(tmp_path: Path) -> None:
    """The registry wants a log-in for the toolkits, as Quay does, and takes a token for a while only."""
    with token_issuer(tmp_path / "issuer", anonymous=(PAYLOADS,)) as issuer, \
            openshift(tmp_path, issuer.setting()) as world:
        world.token = issuer.token([f"repository:{name}:pull,push" for name in (PAYLOADS, IMAGES)])
        for number in range(6):
            world.release(f"4.16.{number}", OLD)
        secret = tmp_path / "pull-secret.json"
        auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        secret.write_text(json.dumps({"auths": {"quay.io": {"auth": auth}}}))
        challenge = (f'Bearer realm="{issuer.url}/token",service="test-registry",'
                     f'scope="repository:{IMAGES}:pull",error="invalid_token"')
        for number in (9, 15):
            world.registry.after(f"/v2/{IMAGES}/", number, says(401, WWW_Authenticate=challenge))
        clone = world.clone(tmp_path, ["4.16"])
        run = clone.doit("toolkit", QUAY_AUTH_FILE=str(secret))
        assert run.code == 0, run.text
        assert [scope for scope, _ in issuer.asked].count(f"repository:{IMAGES}:pull") > 1
        assert PASSWORD not in run.text
        none = world.clone(tmp_path, ["4.16"])
        with untouched(none):
            run = none.doit("toolkit")
        failed(run, 3, "quay.io", "refuses", "QUAY_AUTH_FILE")


def slowly(world: OpenShift, seconds: float) -> Fault:
    """Not a fault: a registry that takes its time."""
    def fault(handler: Asked) -> None:
        time.sleep(seconds)
        pass_on(world.registry)(handler)

    return fault


def test_basic_auth(tmp_path: Path) -> None:
    with openshift(tmp_path, htpasswd(tmp_path / "users")) as world:
        world.auth = (USER, PASSWORD)
        world.release("4.16.30", OLD)
        clone = world.clone(tmp_path, ["4.16"])
        run = clone.doit("toolkit", QUAY_USERNAME=USER, QUAY_PASSWORD=PASSWORD)
        assert run.code == 0, run.text
        assert clone.catalogue()[0]["kernel"] == OLD


def test_an_interrupted_run_goes_on_where_it_was(world: OpenShift, tmp_path: Path) -> None:
    for number in range(12):
        world.release(f"4.16.{number}", OLD)
    clone = world.clone(tmp_path, ["4.16"], releases={"parallel": 2})
    world.registry.requests.clear()
    world.registry.always("/manifests/", slowly(world, 0.3))
    with untouched(clone):
        process = subprocess.Popen(clone.command("toolkit"), cwd=clone.root, env=clone.environment(),
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while len(world.registry.requests) < 20:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        process.communicate(timeout=20)
        assert process.returncode == 130
        assert time.monotonic() - started < 5
    kept = len(list((clone.build / "toolkits").glob("*.json")))
    assert kept > 3
    world.registry.standing.clear()
    before = len(world.registry.requests)
    toolkit(clone)
    # two requests for each thing that was not kept: payload, toolkit and node image of each release
    assert len(world.registry.requests) - before == 2 * (3 * 12 - kept)


def test_the_base_is_read_and_never_guessed(world: OpenShift, tmp_path: Path) -> None:
    """From a name to digest, time and version, as the image has them; then the lock is left alone."""
    repository = "docker/library/busybox"
    clone = world.clone(tmp_path, ["4.16"])
    world.release("4.16.30", OLD)
    lock = clone.root / "config/locks/neuron.json"
    pusher = Pusher(world.registry.upstream, repository)

    def base(layer: bytes, created: str | None = "2024-09-26T21:31:42.5Z", **labels: str) -> str:
        return str(pusher.image([layer], tag="stable-musl", labels=labels, created=created)["digest"])

    clone.write("config/locks/neuron.json", {"schema": 1, "packages": {}})
    for layer, created, label, words in (
        (tar_of({"bin/sh": b"x"}), "2024-09-26T21:31:42Z", {}, "its BusyBox can't be found"),
        (tar_of({"bin/busybox": b"no version"}), "2024-09-26T21:31:42Z", {}, "its BusyBox can't be found"),
        (program("1.36.1", "1.36.0"), "2024-09-26T21:31:42Z", {}, "says to be 1.36.0 and 1.36.1"),
        (program("1.36.1"), "2024-09-26T21:31:42Z", {"busybox.version": "1.37.0"}, "its label busybox.version is"),
        (program("1.36.1"), None, {}, "does not say when it was made"),
    ):
        base(layer, created, **label)
        with untouched(clone):
            failed(clone.doit("toolkit"), 3, "the base public.ecr.aws/docker/library/busybox:stable-musl: ", words)
    digest = base(with_hard_link(), **{"busybox.version": "1.36.1"})
    toolkit(clone)
    document = json.loads(lock.read_text())
    assert document["base"] == {
        "name": "public.ecr.aws/docker/library/busybox:stable-musl", "digest": digest,
        "created": "2024-09-26T21:31:42Z", "busybox": {
            "version": "1.36.1", "source": "https://github.com/mirror/busybox/archive/refs/tags/1_36_1.tar.gz",
            "source_backup": "https://git.busybox.net/busybox/snapshot/busybox-1.36.1.tar.bz2",
        },
    }
    newer = base(program("1.37.0"))
    with untouched(clone):
        toolkit(clone)
    run = clone.doit("toolkit", "--update-base")
    assert run.code == 0, run.text
    document = json.loads(lock.read_text())
    assert (document["base"]["digest"], document["base"]["busybox"]["version"]) == (newer, "1.37.0")
    assert f"is now locked in config/locks/neuron.json as {newer}" in run.out
    # completed for the digest that is locked, not for what the name means today
    document["base"] = {name: value for name, value in document["base"].items() if name != "busybox"} | {
        "digest": digest}
    clone.write("config/locks/neuron.json", document)
    toolkit(clone)
    base_now = json.loads(lock.read_text())["base"]
    assert (base_now["digest"], base_now["busybox"]["version"]) == (digest, "1.36.1")


def program(*versions: str) -> bytes:
    text = b"\0".join(f"BusyBox v{version} (2024)".encode() for version in versions)
    return tar_of({"bin/busybox": b"\x7fELF" + filler(3000) + text + filler(3000)})


def test_the_checksums_of_sources_stay_with_their_sources() -> None:
    old = Base("a", "sha256:1", "x", BusyBox("1", "s", "b", {"s": "0", "b": "1"}))
    new = Base("a", "sha256:2", "y", BusyBox("2", "s"))
    assert merged_base(old, new).busybox == BusyBox("2", "s", sha256={"s": "0"})
    assert merged_base(old, replace(new, busybox=None)).busybox is None
    assert merged_base(old, replace(new, busybox=None, digest=old.digest)).busybox == old.busybox
    assert merged_base(None, new) == new


def test_a_registry_that_is_down(tmp_path: Path) -> None:
    """A registry that is down is said to be; nothing is changed."""
    with real_registry(tmp_path / "gone") as address:
        gone = address
    with openshift(tmp_path) as world:
        world.payloads["4.16.30", "x86_64"] = f"{gone}/x/y@sha256:{'1' * 64}"
        clone = world.clone(tmp_path, ["4.16"], releases={"repository": f"{gone}/x/y"})
        with untouched(clone):
            failed(clone.doit("toolkit"), 3, gone, "can't be reached")
