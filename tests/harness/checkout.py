"""A small checkout with its own configuration, for tests without network and container."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
OLD, NEW = "5.14.0-427.68.2.el9_4.x86_64", "5.14.0-570.12.1.el9_6.x86_64"
DTK = "quay.io/openshift-release-dev/ocp-v4.0-art-dev@sha256:"


def entry(version: str, digest: str, kernel: str | None) -> dict[str, Any]:
    """A catalogue entry; `digest` is one hex digit."""
    kernels = {"kernel": kernel} if kernel else {}
    return {"version": version, "arch": "x86_64", "dtk": DTK + digest * 64, **kernels}


CATALOGUE = [
    entry("4.16.30", "a", OLD), entry("4.16.48", "b", OLD), entry("4.18.15", "c", NEW), entry("4.18.16", "d", NEW),
]
LOCK: dict[str, Any] = {
    "schema": 1,
    "base": {
        "name": "public.ecr.aws/docker/library/busybox:stable-musl", "digest": "sha256:" + "e" * 64,
        "created": "2025-01-02T03:04:05Z", "busybox": {"version": "1.37.0", "source": "https://busybox.net/x.tar.bz2"},
    },
    "packages": {
        driver: {
            "name": "aws-neuronx-dkms", "href": f"aws-neuronx-dkms-{driver}.noarch.rpm",
            "url": f"https://yum.repos.neuron.amazonaws.com/aws-neuronx-dkms-{driver}.noarch.rpm",
            "content_sha256": digit * 64, "build_time": 1747693633, "license": "GPL-2.0",
        }
        for driver, digit in (("2.16.7.0", "1"), ("2.22.2.0", "2"), ("2.28.0.0", "3"))
    },
}


class Checkout:
    """A folder with the project's own configuration and a catalogue, lock and matrix of the test's."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("config", "schemas", "container"):
            shutil.copytree(ROOT / name, root / name)
        self.edit("config/defaults.yaml", "proof: wanted", 'proof: "off"')  # tests of proofs want them
        self.write("driver-toolkit/driver-toolkit.json", CATALOGUE)
        self.write("config/locks/neuron.json", LOCK)
        self.write("build-matrix.json", [{"driver": "2.22.2.0", "ocp_versions": ["4.16", "4.18.15"]}])

    def write(self, name: str, value: Any) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")

    def publishes(self, *repositories: str, address: str = "") -> None:
        """Have the profile `local` publish to these repositories of registry.test, which is served at `address`."""
        self.write("config/profiles/local.yaml", json.dumps({
            "image_repository": "localhost/kmod",
            "publish": [{"registry": "registry.test", "repository": name} for name in repositories],
            **({"addresses": {"registry.test": address}} if address else {}),
        }))

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.root / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")
