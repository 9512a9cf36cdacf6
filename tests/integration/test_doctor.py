"""`doit doctor` is red where the next command would fail, and says what mends it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.harness.clone import Clone, Run
from tests.harness.openshift import CATALOGUE, OLD, OpenShift

PROFILE = "config/profiles/local.yaml"
pytestmark = pytest.mark.podman  # a container is started


def found(run: Run) -> dict[str, str]:
    """What is missing, by name: the lines of each."""
    lines = run.out.splitlines()
    return {line.split()[1]: f"{line} {after}" for line, after in zip(lines, [*lines[1:], ""], strict=True)
            if line.startswith("MISSING")}


def change(clone: Clone, **settings: object) -> None:
    path = clone.root / PROFILE
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **settings}))


def test_from_a_fresh_clone_on(world: OpenShift, tmp_path: Path) -> None:
    """Catalogue and lock are red until `doit toolkit` has run, and so are credentials that can't be read."""
    world.release("4.16.30", OLD)
    clone = world.clone(tmp_path, ["4.16"])
    clone.write("config/locks/neuron.json", {"schema": 1, "packages": {}})
    run = clone.doit("doctor")
    missing = found(run)
    assert (run.code, set(missing)) == (2, {"catalogue", "locks"}), run.text
    assert f"{CATALOGUE}: has no release yet" in missing["catalogue"]
    assert all("fix: doit toolkit" in text for text in missing.values())
    missing = found(clone.doit("doctor", QUAY_AUTH_FILE="/nonexistent/secret.json"))
    assert "QUAY_AUTH_FILE" in missing["registry"]
    world.registry.always("/v2/openshift-release-dev/ocp-v4.0-art-dev/", lambda handler: handler.send_error(401))
    run = clone.doit("doctor")
    assert run.code == 3
    assert "pull secret" in found(run)["registry"]
    world.registry.standing.clear()
    clone.write(CATALOGUE, [{"version": f"4.16.{number}", "arch": "x86_64", "dtk": world.toolkit(OLD)}
                            for number in (30, 31)])
    missing = found(clone.doit("doctor"))
    assert "4.16: 2 releases without a kernel (4.16.30-4.16.31)" in missing["catalogue"]


def test_where_images_go(world: OpenShift, tmp_path: Path) -> None:
    """A registry that takes nothing, a region that is not known, a token that is not set."""
    world.release("4.16.30", OLD)
    clone = world.clone(tmp_path, ["4.16"])
    clone.write(CATALOGUE, [{"version": "4.16.30", "arch": "x86_64", "dtk": world.toolkit(OLD), "kernel": OLD}])
    clone.extra |= {"AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent"}
    target = {"registry": "quay.io", "repository": "mine/kmod"}
    change(clone, publish=[target], github_repository="owner/name")
    run = clone.doit("doctor")
    assert "quay.io/mine/kmod takes images" in run.out
    assert "GITHUB_TOKEN" in found(run)["GitHub"]
    run = clone.doit("doctor", GITHUB_TOKEN="x" * 40)
    assert "GitHub token" in run.out
    assert not {"GitHub", "publish", "catalogue", "locks"} & found(run).keys(), run.text
    world.registry.always("/v2/mine/kmod/blobs/uploads/", lambda handler: handler.send_error(403))
    assert "quay.io refuses mine/kmod" in found(clone.doit("doctor"))["publish"]
    change(clone, publish=[{"registry": "{aws_account}.dkr.ecr.{aws_region}.amazonaws.com", "repository": "x"}])
    assert "no AWS region is set" in found(clone.doit("doctor"))["publish"]
