"""The profile `github`, whole: images to a registry with log-in, releases to a stand-in; only addresses differ."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.aws import ALIAS, FakeEcr, ecr_fake
from tests.harness.clone import Clone, Run
from tests.harness.front import Front, front
from tests.harness.github import GitHub, github_fake
from tests.harness.github_state import Release
from tests.harness.registry import htpasswd, real_registry
from tests.harness.released import DRIVERS, files_of, ledger
from tests.harness.secrets import PASSWORD, USER

DRIVER = "2.22.2.0"
TOKEN = "ghs_token-canary-0816"
SECRET_KEY = "secret-key-canary-0815"
PLACE = "neuron-openshift/neuron-kernel-module"
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
    assert world.asked() <= 4 * len(DRIVERS), [hub.requests, [one[:2] for one in world.registry.requests]]
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
    assert world.asked() <= 4 * len(DRIVERS) + 1, [hub.requests, [one[:2] for one in world.registry.requests]]
    for driver in DRIVERS:
        assert files_of(other, driver)["images.json"] == files_of(clone, driver)["images.json"]
        assert (world.release(driver).body or "").startswith("Mine.\r\n")
    no_secrets(world, run, first, again, publish, release, whole)
