"""A vendor of a test's own: keys, signed packages, a repository on loopback, and clones that fetch from it.

The clones have the profile `local`: no sandbox, no container. The packages are small and hold no driver.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from tests.harness.checkout import CATALOGUE, LOCK
from tests.harness.clone import Clone
from tests.harness.rpmtools import Key, Server

DRIVER = "2.22.2.0"
PACKAGE = "aws-neuronx-dkms"
_XML = '<?xml version="1.0" encoding="UTF-8"?>\n'
_REPO, _COMMON = "http://linux.duke.edu/metadata/repo", "http://linux.duke.edu/metadata/common"


class LocalClone(Clone):
    """A clone in the profile `local` that fetches from a test's server."""

    def __init__(self, folder: Path, url: str, key: Key) -> None:
        super().__init__(folder / "kmod", folder / "no-sandbox")
        (folder / "tmp").mkdir()
        self.extra = {"KMOD_PROFILE": "local", "TMPDIR": str(folder / "tmp")}
        self.write("driver-toolkit/driver-toolkit.json", CATALOGUE)
        self.write("build-matrix.json", [{"driver": DRIVER, "ocp_versions": ["4.16.30"]}])
        self.write("config/locks/neuron.json", {**LOCK, "packages": {}})
        self.address = "https://yum.repos.neuron.amazonaws.com/"
        self.edit("config/drivers/neuron.yaml", "root: usr/src/aws-neuron*-{driver}", "root: usr/src/thing-{driver}")
        self.edit("config/drivers/neuron.yaml", "GPG-PUB-KEY-AMAZON-AWS-NEURON.PUB", "key.pub")
        self.edit("config/drivers/neuron.yaml", "fingerprint: 00FA2C1079260870A76D2C285749CAD8646D9185",
                  f"fingerprint: {key.fingerprint}")
        self.fetch_from(url)

    def fetch_from(self, url: str) -> None:
        """Take another repository."""
        self.edit("config/drivers/neuron.yaml", self.address, url)
        self.address = url

    @property
    def build(self) -> Path:
        """``build/local``."""
        return self.root / "build" / "local"

    @property
    def locked(self) -> Mapping[str, Mapping[str, object]]:
        """The packages in the lock."""
        lock = json.loads((self.root / "config/locks/neuron.json").read_text(encoding="utf-8"))
        found: Mapping[str, Mapping[str, object]] = lock["packages"]
        return found

    @property
    def fetched(self) -> list[str]:
        """What is in the driver's source folder, besides what every fetch leaves."""
        folder = self.build / "sources" / DRIVER
        usual = {"fetch.log", "failure.json", "signing-key.asc"}
        return sorted({path.name for path in folder.iterdir()} - usual)


def publish(server: Server, key: Key, package: bytes | None = None, primary: bytes | None = None, **said: str) -> None:
    """Write a repository by hand around any bytes, with all checksums right; `said` changes the list's words."""
    folder = server.folder
    (folder / "repodata").mkdir(parents=True, exist_ok=True)
    (folder / "key.pub").write_bytes(key.file.read_bytes())
    if package is not None:
        (folder / "p.rpm").write_bytes(package)
    listed = _XML + (
        f'<metadata xmlns="{_COMMON}"><package type="rpm"><name>{PACKAGE}</name><arch>noarch</arch>'
        f'<version epoch="0" ver="{said.get("version", DRIVER)}" rel="1"/>'
        f'<checksum type="sha256" pkgid="YES">{hashlib.sha256(package or b"").hexdigest()}</checksum>'
        f'<time file="1" build="2"/><size package="{len(package or b"")}"/><location href="p.rpm"/>'
        "</package></metadata>"
    )
    packed = primary if primary is not None else gzip.compress(listed.encode(), mtime=0)
    (folder / "repodata/primary.xml.gz").write_bytes(packed)
    opened = (
        f'<open-checksum type="sha256">{hashlib.sha256(listed.encode()).hexdigest()}</open-checksum>'
        f"<open-size>{len(listed.encode())}</open-size>" if primary is None else said.get("opened", "")
    )
    (folder / "repodata/repomd.xml").write_text(
        f'{_XML}<repomd xmlns="{_REPO}"><data type="primary">'
        f'<checksum type="sha256">{hashlib.sha256(packed).hexdigest()}</checksum>{opened}'
        f'<location href="repodata/primary.xml.gz"/><size>{len(packed)}</size></data></repomd>', encoding="utf-8"
    )
