"""A registry whose own disk is full."""

from __future__ import annotations

import json
from pathlib import Path

import requests
import yaml

from tests.harness.clone import Clone
from tests.harness.disk import small_disk
from tests.harness.registry import OCI_MANIFEST, real_registry

HOST, REPOSITORY = "small.sandbox.internal", "kmod"


def test_the_registry_has_no_space(copied: Clone, tmp_path: Path) -> None:
    profile = copied.root / "config" / "profiles" / "sandbox.yaml"
    settings = yaml.safe_load(profile.read_text())
    settings["publish"] = [{"registry": HOST, "repository": REPOSITORY}]
    folder = tmp_path / "registry"
    with small_disk(folder, 1150) as grow, real_registry(folder) as address:
        profile.write_text(yaml.safe_dump({**settings, "addresses": {HOST: address}}))
        run = copied.doit("publish")
        assert run.code == 3, run.text
        assert "500" in run.err + run.out
        rows = {row["key"] for path in copied.build.glob("release/*/images.json")
                for row in json.loads(path.read_text())["cells"]}
        wanted = {row["key"] for row in copied.status().values()}
        assert rows < wanted, "some did not fit"
        grow(64 << 10)
        again = copied.doit("publish")
        assert (again.code, again.compiled, again.imaged) == (0, [], 0), again.text
        for row in copied.status().values():
            assert row["state"] == "published"
            held = requests.head(f"http://{address}/v2/{REPOSITORY}/manifests/{row['tag']}", timeout=30,
                                 headers={"Accept": OCI_MANIFEST})
            assert held.headers["Docker-Content-Digest"] == row["digest"]
        assert copied.doit("publish").connections == []
