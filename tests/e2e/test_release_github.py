"""The profile `github`, whole: images to a registry with log-in, releases to a stand-in; only addresses differ."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import yaml

from foundry.base.versions import kernel_version
from foundry.signing.new import IMAGE_KEY_FILE, PUBLIC_FILE, write_image_pair
from tests.harness import github_exchange as exchange
from tests.harness import witness
from tests.harness.aws import ALIAS, FakeEcr, ecr_fake
from tests.harness.clone import Clone, Run
from tests.harness.front import Front, front, says
from tests.harness.github import GitHub, github_fake
from tests.harness.github_state import Fault, Release
from tests.harness.registry import OCI_MANIFEST, Pusher, htpasswd, real_registry
from tests.harness.released import DRIVERS, files_of, ledger
from tests.harness.secrets import PASSWORD, USER

DRIVER = "2.22.2.0"
MEDIA_TYPE = "application/vnd.kmod-foundry.ledger.v1+json"
TOKEN = "ghs_token-canary-0816"
SECRET_KEY = "secret-key-canary-0815"
PLACE = "neuron-openshift/neuron-kernel-module"
KILLS = int(os.environ.get("KMOD_GITHUB_KILLS", "2"))  # of the requests of a release, 1000 for each
IMAGES = f"public.ecr.aws/{ALIAS}/{PLACE}"


@dataclass
class World:
    """A clone with everything that its profile talks to."""

    clone: Clone
    registry: Front
    github: GitHub
    ecr: FakeEcr
    storage: Path

    def release(self, tag_of: str) -> Release:
        """The one release of a driver; it is published."""
        tag = f"neuron-driver-{tag_of}"
        found = [one for one in self.github.releases if one.tag_name == tag]
        assert [one.draft for one in found] == [False], found
        return found[0]

    def right(self, driver: str, clone: Clone | None = None) -> dict[str, bytes]:
        """The release is what its driver's ledger says: assets by name; nothing half-done is left."""
        release = self.release(driver)
        held = {asset.name: asset.content for asset in release.assets}
        assert {asset.state for asset in release.assets} == {"uploaded"}
        one = clone or self.clone
        assert held["images.json"] == files_of(one, driver)["images.json"]
        sums = dict(line.split()[::-1] for line in held["SHA256SUMS"].decode().splitlines())
        assert set(sums) == set(held) - {"SHA256SUMS"}
        assert sums == {name: hashlib.sha256(held[name]).hexdigest() for name in sums}
        assert set(held) >= {f"aws-neuronx-dkms-{driver}-modified-source.tar.gz", "images.json", "SHA256SUMS"}
        assert [name for name in held if name.startswith("busybox-")]
        body = release.body or ""
        assert all(f"`{IMAGES}@{row['digest']}`" in body for row in ledger(one, driver)["cells"])
        return held

    def asked(self) -> int:
        """How many requests GitHub and the registry have seen."""
        return len(self.github.requests) + len(self.github.elsewhere_requests) + len(self.registry.requests)


@pytest.fixture
def world(copied: Clone, tmp_path: Path) -> Iterator[World]:
    folder = tmp_path / "registry"
    with real_registry(folder, htpasswd(folder)) as address, front(address) as one, ecr_fake("ecr-public") as ecr, \
            github_fake() as hub:
        copied.use_profile("github", {"public.ecr.aws": one.address})
        ecr.token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        ecr.repositories[PLACE] = []
        hub.token = TOKEN
        copied.extra = {
            "AWS_ACCESS_KEY_ID": "AKIACANARY0815", "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "HOME": str(tmp_path),
            "AWS_EC2_METADATA_DISABLED": "true", "AWS_ENDPOINT_URL_ECR_PUBLIC": ecr.url, "GITHUB_API_URL": hub.url,
            "GITHUB_REPOSITORY": hub.repo, "GITHUB_TOKEN": TOKEN, "NO_PROXY": "127.1,127.0.0.0/8",
        }
        yield World(copied, one, hub, ecr, folder / "storage")
        assert hub.violations == []
        assert ecr.violations == []


def no_secrets(world: World, *runs: Run) -> None:
    """No secret in anything that runs showed, started, left, pushed or released."""
    secrets = (SECRET_KEY, TOKEN, PASSWORD, world.ecr.token)
    for run in runs:
        assert not any(secret in text for secret in secrets for text in (run.text, json.dumps(run.processes)))
    for path in [*world.clone.root.rglob("*"), *world.storage.rglob("*")]:
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            assert not any(secret.encode() in data for secret in secrets), path
    for release in world.github.releases:
        for content in [(release.body or "").encode(), *(asset.content for asset in release.assets)]:
            assert not any(secret.encode() in content for secret in secrets)
    assert all("authorization" not in {name.lower() for name in headers}
               for _, headers in world.github.elsewhere_requests)


def test_from_nothing_to_a_fresh_checkout(world: World, tmp_path: Path) -> None:
    """Released once; then a read a driver; a fresh checkout finds the ledgers with few requests and writes nothing."""
    clone, hub = world.clone, world.github
    run = clone.doit("release", GITHUB_TOKEN="")
    assert run.code == 3
    assert "GitHub releases need a token" in run.err and "set GITHUB_TOKEN" in run.err
    assert (hub.requests, world.registry.requests, run.processes) == ([], [], [])
    first = clone.doit("release")
    assert first.code == 0, first.text
    assert first.compiled == []
    for driver in DRIVERS:
        held = world.right(driver)
        mine = files_of(clone, driver)
        assert held == {name: data for name, data in mine.items() if name != "notes.md"}
        assert mine["notes.md"].decode().strip() in (world.release(driver).body or "")
        for row in ledger(clone, driver)["cells"]:
            labels = clone.record(f"{driver}-{row['kernel']}", "image")["labels"]
            where, _, name = labels["neuron-driver.source"].rpartition("/")
            assert where == f"https://github.com/{hub.repo}/releases/download/{world.release(driver).tag_name}"
            assert name in held and name.endswith("-modified-source.tar.gz")
    hub.requests.clear()
    world.registry.requests.clear()
    again = clone.doit("release")
    assert again.code == 0, again.text
    assert [method for method, _ in hub.requests] == ["GET"] * len(DRIVERS)
    assert (world.registry.requests, again.processes) == ([], [])
    for driver in DRIVERS:
        body = world.release(driver).body or ""
        world.release(driver).body = "Mine.\r\n\r\n" + body.replace("\n", "\r\n") + "\r\n\r\nMine, too.\r\n"
    fresh = clone.checkout(tmp_path / "fresh")
    hub.requests.clear()
    publish = fresh.doit("publish")
    assert publish.code == 0, publish.text
    assert (publish.compiled, publish.processes) == ([], [])
    rows = sum(len(ledger(fresh, driver)["cells"]) for driver in DRIVERS)
    assert world.asked() <= 4 * len(DRIVERS) + 2 * rows, [hub.requests, [one[:2] for one in world.registry.requests]]
    hub.requests.clear()
    world.registry.requests.clear()
    release = fresh.doit("release")
    assert release.code == 0, release.text
    assert [method for method, _ in hub.requests] == ["GET"] * len(DRIVERS)
    assert (world.registry.requests, release.processes) == ([], [])
    other = clone.checkout(tmp_path / "other")
    hub.requests.clear()
    whole = other.doit("release")
    assert (whole.code, whole.compiled, whole.imaged) == (0, [], 0), whole.text
    assert hub.writes() == []
    most = 4 * len(DRIVERS) + 1 + 2 * rows
    assert world.asked() <= most, [hub.requests, [one[:2] for one in world.registry.requests]]
    for driver in DRIVERS:
        assert files_of(other, driver)["images.json"] == files_of(clone, driver)["images.json"]
        assert (world.release(driver).body or "").startswith("Mine.\r\n")
    no_secrets(world, run, first, again, publish, release, whole)


def one_cell(world: World) -> None:
    """What is wanted is one cell, so that a run takes less time."""
    world.clone.write("build-matrix.json", [{"driver": DRIVER, "ocp_versions": ["4.16.30"]}])


def more_cells(clone: Clone) -> None:
    clone.write("build-matrix.json", [{"driver": DRIVER, "ocp_versions": ["4.16.30", "4.17"]}])


def goes_down(world: World) -> None:
    """GitHub tells which ledger there is; after that it is out of reach."""
    def last(one: exchange.Exchange) -> None:
        one.finish()
        world.github.always("", "", exchange.drop())

    world.github.fault(last, "GET", "/releases/tags/")


def kernels_of(content: bytes) -> list[str]:
    return [row["kernel"] for row in json.loads(content)["cells"]]


def test_rows_of_other_checkouts_stay(world: World, kernels: list[str], tmp_path: Path) -> None:
    """GitHub fails after a checkout published more; the others lose nothing, and compile nothing again."""
    one_cell(world)
    clone, hub = world.clone, world.github
    assert clone.doit("release").code == 0
    world.right(DRIVER)
    other = clone.checkout(tmp_path / "other")
    other.edit("config/defaults.yaml", "network_timeout: 900", "network_timeout: 10")
    other.copy_state(clone, "cells", "sources")
    more_cells(other)
    goes_down(world)
    before = [(asset.name, asset.content) for asset in world.release(DRIVER).assets]
    run = other.doit("release")
    assert run.code == 3, run.text
    assert "GitHub can't be reached" in run.text
    assert kernels_of(files_of(other, DRIVER)["images.json"]) == kernels[:2]
    assert "push:" in run.out and "ledger:" in run.out
    assert [(asset.name, asset.content) for asset in world.release(DRIVER).assets] == before
    hub.standing.clear()
    third = clone.checkout(tmp_path / "third")
    more_cells(third)
    run = third.doit("release")
    assert run.code == 0, run.text
    assert (run.compiled, run.imaged) == ([], 0)
    assert kernels_of(world.right(DRIVER, third)["images.json"]) == kernels[:2]
    # The first one wants less and knows nothing of all this.
    run = clone.doit("release")
    assert run.code == 0, run.text
    assert kernels_of(world.right(DRIVER)["images.json"]) == kernels[:2]
    hub.requests.clear()
    assert [one.doit("release").code for one in (clone, third)] == [0, 0]
    assert {verb for verb, _ in hub.writes()} == {"PATCH"}, "its text names the releases that each matrix wants"
    hub.requests.clear()
    assert third.doit("release").code == 0
    assert hub.writes() == []


def test_a_registry_without_ledgers(world: World, tmp_path: Path) -> None:
    """It refuses their tags alone: the release is made, the run fails; a fresh checkout finds the ledger at GitHub."""
    one_cell(world)
    clone = world.clone
    ledgers = f"PUT /v2/{ALIAS}/{PLACE}/manifests/ledger-"
    world.registry.always(ledgers, says(403, b'{"errors": [{"code": "DENIED", "message": "no"}]}'))
    run = clone.doit("release")
    assert run.code in (1, 3), run.text
    assert "FAILED ledger:2.22.2.0" in run.out
    world.right(DRIVER)
    world.registry.standing.clear()
    world.registry.requests.clear()
    world.github.requests.clear()
    world.github.elsewhere_requests.clear()
    fresh = clone.checkout(tmp_path / "fresh")
    listed = fresh.doit("build")
    assert (listed.code, listed.compiled) == (0, []), listed.text
    rows = len(ledger(fresh, DRIVER)["cells"])
    assert world.asked() <= 4 + 2 + 2 * rows, "two tell how to log in, for writing and for reading; a row costs two"
    run = fresh.doit("release")
    assert (run.code, run.compiled) == (0, []), run.text
    assert world.registry.count("/manifests/ledger-2.22.2.0", "PUT") == 1
    assert world.github.writes() == []
    world.right(DRIVER, fresh)


@pytest.mark.parametrize("place", ["here", "registry", "github"])
def test_a_ledger_of_a_newer_version(world: World, place: str) -> None:
    """Nothing is written anywhere: the rows that it has are not understood."""
    one_cell(world)
    clone, hub = world.clone, world.github
    newer = b'{"schema": 4, "driver": "2.22.2.0", "family": "neuron", "cells": {"another": "form"}}'
    if place == "here":
        (clone.build / "release" / DRIVER).mkdir(parents=True)
        (clone.build / "release" / DRIVER / "images.json").write_bytes(newer)
    elif place == "github":
        hub.seed_asset(hub.seed_release(f"neuron-driver-{DRIVER}", body="theirs"), "images.json", newer)
    else:
        put_ledger(world, newer)
        world.registry.requests.clear()
    run = clone.doit("release")
    assert run.code == 2, run.text
    assert "schema 4 is newer than this version of kmod-foundry understands (3)" in run.err
    assert "hint: update kmod-foundry" in run.err
    assert "Traceback" not in run.text
    assert hub.writes() == []
    assert {verb for verb, _, _ in world.registry.requests} <= {"GET", "HEAD"}


def put_ledger(world: World, content: bytes) -> None:
    """Keep a ledger in the registry, as the product does."""
    layer = {"mediaType": MEDIA_TYPE, "data": base64.b64encode(content).decode()}
    pusher = Pusher(world.registry.upstream, f"{ALIAS}/{PLACE}", auth=(USER, PASSWORD))
    pusher.manifest({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": MEDIA_TYPE,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", **pusher.blob(b"{}")},
        "layers": [{**layer, **pusher.blob(content)}],
    }, f"ledger-{DRIVER}")


def test_an_old_ledger_and_damaged_assets(world: World, tmp_path: Path) -> None:
    """A ledger that never saw a revision is taken over; what is tampered with or gone at GitHub is made anew."""
    one_cell(world)
    clone, hub = world.clone, world.github
    assert clone.doit("publish").code == 0
    document = ledger(clone, DRIVER)
    document["cells"] = [{name: value for name, value in row.items() if name != "revision"}
                         for row in document["cells"]]
    document.pop("series", None)
    put_ledger(world, json.dumps(document).encode())
    fresh = clone.checkout(tmp_path / "fresh")
    run = fresh.doit("release")
    assert (run.code, run.compiled) == (0, []), run.text
    held = world.right(DRIVER, fresh)
    assert json.loads(held["images.json"])["cells"][0]["revision"]["number"] == 1
    release = world.release(DRIVER)
    source, busybox = sorted(set(held) - {"SHA256SUMS", "images.json", "kmm.tar.gz"})
    hub.tamper(release.asset(source), b"evil")
    hub.tamper(release.asset("images.json"), b"evil")
    hub.tamper(release.asset("SHA256SUMS"), b"evil", digest=f"sha256:{hashlib.sha256(held['SHA256SUMS']).hexdigest()}")
    release.asset("SHA256SUMS").told_digest = None
    release.assets.remove(release.asset(busybox))
    bare = clone.checkout(tmp_path / "bare")
    assert not bare.build.exists()
    run = bare.doit("release")
    assert (run.code, run.compiled) == (0, []), run.text
    assert world.right(DRIVER, bare) == held
    hub.requests.clear()
    assert bare.doit("release").code == 0
    assert [method for method, _ in hub.requests] == ["GET"]


def test_no_source_no_release(world: World, kernels: list[str]) -> None:
    """Images are published and kept in the ledger; the release stays as it was; the next run heals."""
    one_cell(world)
    clone, hub = world.clone, world.github
    assert clone.doit("release").code == 0
    held = world.right(DRIVER)
    lock = clone.root / "config/locks/neuron.json"
    good = lock.read_bytes()
    more_cells(clone)
    hub.requests.clear()
    real = json.loads(good)["base"]["busybox"]["source"]
    for source in ("http://127.0.0.1:1/x.tar.bz2", f"{real}?other"):  # unreachable, then with another content
        document = json.loads(good)
        facts = document["base"]["busybox"]
        facts.pop("source_backup", None)
        facts |= {"source": source, "sha256": {source: "0" * 64}}
        lock.write_text(json.dumps(document))
        for path in (clone.build / "release" / DRIVER).glob("busybox-*"):
            path.unlink()
        run = clone.doit("release")
        assert run.code == 1, run.text
        assert "FAILED assets:2.22.2.0: the source of BusyBox can't be had" in run.out
        assert "its source tarballs are missing" in run.out
        assert hub.writes() == []
        assert world.release(DRIVER).asset("images.json").content == held["images.json"]
        assert kernels_of(kept(world)) == kernels[:2]
    lock.write_bytes(good)
    run = clone.doit("release")
    assert run.code == 0, run.text
    assert kernels_of(world.right(DRIVER)["images.json"]) == kernels[:2]


def kept(world: World) -> bytes:
    """The ledger as the registry has it."""
    answer = requests.get(f"http://{world.registry.upstream}/v2/{ALIAS}/{PLACE}/manifests/ledger-{DRIVER}",
                          headers={"Accept": OCI_MANIFEST}, auth=(USER, PASSWORD), timeout=30)
    return base64.b64decode(answer.json()["layers"][0]["data"])


def test_ended_while_it_uploads(world: World) -> None:
    """SIGTERM: a draft is left that nobody sees; the next run ends it."""
    one_cell(world)
    clone, hub = world.clone, world.github
    hub.fault(exchange.delay(20), "POST", "/assets", number=2)
    process = subprocess.Popen(clone.command("release"), cwd=clone.root, env=clone.environment(),
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 120
    while hub.count("POST", "/assets") < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    assert "Traceback" not in out
    assert [release.draft for release in hub.releases] == [True]
    run = clone.doit("release")
    assert run.code == 0, run.text
    world.right(DRIVER)
    hub.requests.clear()
    assert clone.doit("release").code == 0
    assert hub.writes() == []


def test_killed_at_a_request(world: World) -> None:
    """kill -9 while GitHub is asked, before or after it has done that: the next run ends it."""
    one_cell(world)
    clone, hub = world.clone, world.github
    assert clone.doit("release").code == 0
    total = from_nothing(world)
    assert total > 4
    for number in range(1, total + 1, max(1, total // KILLS)):
        for done in (False, True):
            clear(hub)
            before = len(hub.requests)
            process = subprocess.Popen(clone.command("release"), cwd=clone.root, env=clone.environment(),
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
            hub.fault(kills(process.pid, done=done), number=number)
            assert process.wait(120) == -signal.SIGKILL, (number, done)
            assert len(hub.requests) == before + number
            run = clone.doit("release")
            assert run.code == 0, (number, done, run.text)
            world.right(DRIVER)


def clear(hub: GitHub) -> None:
    hub.releases.clear()
    hub.git.delete_ref(f"refs/tags/neuron-driver-{DRIVER}")


def from_nothing(world: World) -> int:
    """How many requests a release takes that GitHub does not have yet, and all else does."""
    clear(world.github)
    world.github.requests.clear()
    assert world.clone.doit("release").code == 0
    return len(world.github.requests)


def kills(group: int, *, done: bool) -> Fault:
    def fault(asked: exchange.Exchange) -> None:
        if done:
            asked.perform()
        os.killpg(group, signal.SIGKILL)
        asked.close()

    return fault


def test_two_checkouts_at_once(world: World, kernels: list[str], tmp_path: Path) -> None:
    """Each publishes a kernel of its own. The loser heals in the next run; no row, draft or half asset is left."""
    one_cell(world)
    clone, hub = world.clone, world.github
    other = clone.checkout(tmp_path / "other")
    other.copy_state(clone, "cells", "sources")
    other.write("build-matrix.json", [{"driver": DRIVER, "ocp_versions": ["4.17.12"]}])
    both = [subprocess.Popen(one.command("release"), cwd=one.root, env=one.environment(), stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True) for one in (clone, other)]
    said = [process.communicate(timeout=300)[0] for process in both]
    assert not any("Traceback" in text for text in said), said
    for _ in range(2):
        for one in (clone, other):
            run = one.doit("release")
            assert run.code == 0, run.text
    assert kernels_of(world.right(DRIVER)["images.json"]) == kernels[:2]
    assert kernels_of(world.right(DRIVER, other)["images.json"]) == kernels[:2]
    hub.requests.clear()
    assert [one.doit("release").code for one in (clone, other)] == [0, 0]
    assert {verb for verb, _ in hub.writes()} == {"PATCH"}, "its text names the releases that each matrix wants"
    hub.requests.clear()
    assert other.doit("release").code == 0
    assert hub.writes() == []
    fresh = clone.checkout(tmp_path / "fresh")
    run = fresh.doit("build")
    assert (run.code, run.compiled) == (0, []), run.text


def test_a_fork_is_told_where_its_labels_lead(world: World) -> None:
    one_cell(world)
    world.clone.edit("config/profiles/github.yaml", "acme/images", "acme/upstream")
    run = world.clone.doit("release")
    assert run.code == 0, run.text
    assert (f"the labels of images name acme/upstream as the place of their sources, but the releases are in"
            f" {world.github.repo}: set `github_repository`") in run.text
    world.release(DRIVER)


def test_a_damaged_ledger_is_no_empty_one(world: World) -> None:
    """What can't be read is an error that says what to do; nothing is built or written."""
    one_cell(world)
    put_ledger(world, b"<html>")
    world.registry.requests.clear()
    run = world.clone.doit("release")
    assert run.code == 2, run.text
    assert f"ledger-{DRIVER}" in run.err and "hint: is it damaged?" in run.err
    assert world.github.writes() == []
    assert {verb for verb, _, _ in world.registry.requests} <= {"GET", "HEAD"}


def test_one_bad_cell_among_many(world: World, kernels: list[str]) -> None:
    """It is named with the compiler's words; all others are released; what was published before stays."""
    clone, hub = world.clone, world.github
    clone.write("build-matrix.json", [{"driver": DRIVER, "ocp_versions": ["4.16.30", "4.17", "4.18.16"]}])
    bad = kernels[2]
    profile = clone.root / "config/profiles/github.yaml"
    good = profile.read_text()
    break_it(profile, bad)
    run = clone.doit("release")
    assert run.code == 1, run.text
    assert run.compiled == [bad]
    held = world.right(DRIVER)
    assert kernels_of(held["images.json"]) == kernels[:2]
    body = world.release(DRIVER).body or ""
    unbuilt = body.partition("## Known not to build")[2].partition("\n## ")[0]
    [line] = [line for line in unbuilt.splitlines() if line.startswith("- ")]
    assert line.startswith(f"- `{bad}` (4.18.16): `") and "no_such_type" in line
    assert str(clone.root) not in body
    hub.requests.clear()
    again = clone.doit("release")
    assert (again.code, again.compiled) == (1, []), "nothing changed since it failed"
    assert hub.writes() == []
    profile.write_text(good)
    assert clone.doit("release").code == 0
    assert kernels_of(world.right(DRIVER)["images.json"]) == kernels
    body = world.release(DRIVER).body or ""
    assert "Known not to build" not in body
    assert body.partition("## What is new")[2].count("- new:") == 1
    break_it(profile, bad)
    run = clone.doit("release")
    assert run.code == 1, run.text
    assert kernels_of(world.right(DRIVER)["images.json"]) == kernels
    assert "the image above is of an earlier state" in (world.release(DRIVER).body or "")


def break_it(profile: Path, kernel: str) -> None:
    """A patch that is needed for this kernel and newer ones alone, and does not compile."""
    document = yaml.safe_load(profile.read_text())
    edit = {"file": "neuron_cdev.c", "find": "static dev_t ncdev_number;", "matches": 1,
            "replace": "static dev_t ncdev_number;\nstatic no_such_type x;"}
    document["families"]["neuron"]["additional_patches"].append({
        "id": "breaks", "why": "a test", "drivers": f"=={DRIVER}", "kernels": f">={kernel_version(kernel)}",
        "edits": [edit],
    })
    profile.write_text(yaml.safe_dump(document))


def signs(world: World) -> None:
    """As docs/attest.md tells: the public key is committed, the private one is a secret, the profile names both."""
    clone = world.clone
    write_image_pair(clone.root / "config/signing")
    profile = clone.root / "config/profiles/github.yaml"
    profile.write_text(profile.read_text() + yaml.safe_dump({"image_signing": {
        "key": "env:KMOD_IMAGE_SIGNING_KEY", "public_keys": [f"config/signing/{PUBLIC_FILE}"]}}))
    key = clone.root / "config/signing" / IMAGE_KEY_FILE
    clone.extra["KMOD_IMAGE_SIGNING_KEY"] = key.read_text()
    key.unlink()


def lose_ledger(world: World) -> None:
    """The registry has the driver's ledger no more."""
    base = f"http://{world.registry.upstream}/v2/{ALIAS}/{PLACE}/manifests"
    found = requests.get(f"{base}/ledger-{DRIVER}", headers={"Accept": OCI_MANIFEST}, auth=(USER, PASSWORD), timeout=30)
    digest = found.headers["Docker-Content-Digest"]
    assert requests.delete(f"{base}/{digest}", auth=(USER, PASSWORD), timeout=30).status_code == 202


def test_signed(world: World, tmp_path: Path) -> None:
    """Images, statements and ledgers in both places are signed; a ledger that somebody changed is not believed."""
    one_cell(world)
    signs(world)
    clone, hub = world.clone, world.github
    run = clone.doit("release")
    assert (run.code, run.compiled) == (0, []), run.text
    held = world.right(DRIVER)
    assert {"images.json.sigstore.json", "verify.tar.gz", "kmm.tar.gz"} <= set(held)
    for name in ("images.json", "images.json.sigstore.json"):
        (tmp_path / name).write_bytes(held[name])
    (tmp_path / "root.json").write_text('{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}')
    done = witness.run(
        "cosign", "verify-blob", "--new-bundle-format", "--insecure-ignore-tlog=true", "--trusted-root=root.json",
        "--key", clone.root / "config/signing" / PUBLIC_FILE, "--bundle=images.json.sigstore.json", "images.json",
        cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert clone.doit("verify").code == 0
    hub.requests.clear()
    assert clone.doit("release").code == 0 and hub.writes() == []
    # the registry lost its ledger: that of the release is believed, signed as it is
    lose_ledger(world)
    fresh = clone.checkout(tmp_path / "fresh")
    run = fresh.doit("release")
    assert (run.code, run.compiled) == (0, []), run.text
    assert hub.writes() == []
    # and when its own was changed, it is not
    lose_ledger(world)
    document = json.loads(held["images.json"])
    document["cells"][0]["published"] = "2026-01-02T03:04:05Z"
    hub.tamper(world.release(DRIVER).asset("images.json"), json.dumps(document).encode())
    other = clone.checkout(tmp_path / "other")
    run = other.doit("release")
    assert run.code == 1 and f"the GitHub release of {DRIVER} is not signed by a key of" in run.text, run.text
    assert run.compiled == []
