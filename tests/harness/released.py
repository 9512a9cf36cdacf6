"""What `doit release` left in a clone and in the registry."""

from __future__ import annotations

import hashlib
import json
import subprocess
from typing import Any

from tests.harness.clone import Clone, registry_port

DRIVERS = ("2.16.7.0", "2.22.2.0")  # of tests.conftest.MATRIX


def files_of(clone: Clone, driver: str) -> dict[str, bytes]:
    """A driver's release as files: what users are given, by name."""
    folder = clone.build / "release" / driver
    ours = (".log", "attest.json", "bundle.json", "notes.json", "stored.json")
    return {path.name: path.read_bytes() for path in folder.iterdir()
            if path.is_file() and not path.name.startswith(".") and not path.name.endswith(ours)}


def ledger(clone: Clone, driver: str) -> dict[str, Any]:
    """A driver's ledger."""
    found: dict[str, Any] = json.loads((clone.build / "release" / driver / "images.json").read_bytes())
    return found


def written(clone: Clone) -> dict[str, int]:
    """Every file of the checkout, with the time at which it was last written."""
    return {
        str(path.relative_to(clone.root)): path.stat().st_mtime_ns for path in clone.root.rglob("*")
        if path.is_file() and path.name not in (".audit", ".run.lock")
    }


def beside(digest: str) -> set[str]:
    """The tags of what lies beside an image: of its signature, and of the list of its statements."""
    return {f"{digest.replace(':', '-')}.sig", digest.replace(":", "-")}


def manifests(clone: Clone) -> dict[str, str]:
    """What the registry holds of a clone's repository: tag → digest, asked by another program."""
    address = f"127.0.0.1:{registry_port(clone.services)}/{clone.repository}"
    listed = subprocess.run(["skopeo", "list-tags", "--tls-verify=false", f"docker://{address}"],
                            capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        assert "404" in listed.stderr, listed.stderr
        return {}
    return {tag: digest(f"{address}:{tag}") for tag in json.loads(listed.stdout)["Tags"]}


def digest(name: str) -> str:
    done = subprocess.run(["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}"],
                          capture_output=True, check=True)
    return f"sha256:{hashlib.sha256(done.stdout).hexdigest()}"


def images(clone: Clone) -> dict[str, str]:
    """Those that are neither ledgers nor signatures."""
    return {tag: found for tag, found in manifests(clone).items()
            if not tag.startswith(("ledger-", "sha256-"))}
