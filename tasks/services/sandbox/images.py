"""The sandbox's other images: the base, OpenShift-like release images, node images."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tasks.core.errors import OutsideError
from tasks.core.files import scratch
from tasks.core.names import image_tag
from tasks.services.podman import Engine
from tasks.services.process import run
from tasks.services.sandbox.toolkits import REGISTRY, in_debian, push

_PREFIX = "localhost/kmod-foundry-sandbox"
_FIXED_TIME = 1700000000  # release and node images say nothing that is worth a time
_UPSTREAM = "https://busybox.net/downloads/busybox-{version}.tar.bz2"


@dataclass(frozen=True)
class Base:
    """The base image and what is in it: the `base` of a lock (schemas/lock.schema.json)."""

    name: str
    digest: str
    created: str
    version: str
    source: str
    source_backup: str

    def as_lock(self) -> dict[str, object]:
        """The lock's form."""
        busybox = {"version": self.version, "source": self.source, "source_backup": self.source_backup}
        return {"name": self.name, "digest": self.digest, "created": self.created, "busybox": busybox}


def build_base(engine: Engine, recipes: Path, work: Path, log: Path) -> Base:
    """From Debian's busybox-static; its version is read from the program, its source from Debian's index."""
    image = f"{_PREFIX}/busybox:stable"
    with scratch(work, "base") as folder:
        printed = in_debian(
            engine,
            "cd /tmp && apt-get -qq download busybox-static && dpkg-deb -x busybox-static_*.deb /out/deb && "
            "sed 's/^deb /deb-src /' /etc/apt/sources.list > /etc/apt/sources.list.d/source.list && "
            "apt-get -qq update && apt-get source --print-uris --only-source busybox",
            log, mount=folder,
        )
        found = (folder / "deb").rglob("busybox")
        program = next(path for path in found if path.is_file() and os.access(path, os.X_OK))
        version = _version(run([str(program)]).stdout)
        created = int(program.stat().st_mtime)
        _root(folder / "root", program)
        _build(engine, recipes / "Containerfile.base", folder, image, {"VERSION": version}, created, log)
        reference = push(engine, image, "busybox:stable", work, log)
    return Base(
        f"{REGISTRY}/busybox:stable", reference.rpartition("@")[2],
        datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), version, _source(printed),
        _UPSTREAM.format(version=version),
    )


def build_node(engine: Engine, kernel: str, recipes: Path, work: Path, log: Path) -> str:
    """A node image whose label names the kernel; returns its pull spec by digest."""
    tag = image_tag("", kernel).removeprefix("-")
    image = f"{_PREFIX}/node:{tag}"
    with scratch(work, "node") as folder:
        (folder / "empty").touch()
        _build(engine, recipes / "Containerfile.node", folder, image, {"KERNEL": kernel}, _FIXED_TIME, log)
        return push(engine, image, f"node:{tag}", work, log)


def build_release(
    engine: Engine, version: str, toolkit: str, node: str, recipes: Path, work: Path, log: Path
) -> str:
    """A release image with release-manifests/image-references; returns its pull spec by digest."""
    image = f"{_PREFIX}/release:{version}"
    tags = {"driver-toolkit": toolkit, "rhel-coreos": node}
    stream = {
        "kind": "ImageStream", "apiVersion": "image.openshift.io/v1", "metadata": {"name": version},
        "spec": {"tags": [
            {"name": name, "annotations": {}, "from": {"kind": "DockerImage", "name": reference}}
            for name, reference in sorted(tags.items())
        ]},
    }
    with scratch(work, "release") as folder:
        (folder / "release-manifests").mkdir()
        (folder / "release-manifests/image-references").write_text(json.dumps(stream, indent=2), encoding="utf-8")
        _build(engine, recipes / "Containerfile.release", folder, image, {"VERSION": version}, _FIXED_TIME, log)
        return push(engine, image, f"release:{version}-x86_64", work, log)


def _build(
    engine: Engine, recipe: Path, context: Path, image: str, arguments: dict[str, str], timestamp: int, log: Path
) -> None:
    engine.call(
        "build", "--quiet", "--pull=never", "--network=none", "--layers=false", "--omit-history",
        "--identity-label=false", f"--timestamp={timestamp}", f"--tag={image}",
        *(f"--build-arg={name}={value}" for name, value in arguments.items()), f"--file={recipe}", str(context),
        starts=True, log=log, reason="sandbox-image-failed", hint="read the log",
    )


def _root(root: Path, program: Path) -> None:
    """The image's root: the program and a link for each of its commands."""
    (root / "bin").mkdir(parents=True)
    os.replace(program, root / "bin/busybox")
    (root / "bin/busybox").chmod(0o755)
    for applet in run([str((root / "bin/busybox").absolute()), "--list"]).stdout.split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")


def _version(banner: str) -> str:
    match = re.match(r"BusyBox v(\d+(?:\.\d+)+)", banner)
    if match is None:
        raise OutsideError("busybox does not say its version", reason="busybox-version")
    return match.group(1)


def _source(uris: str) -> str:
    for uri in re.findall(r"'(\S+)'", uris):
        if ".orig.tar" in uri and not uri.endswith(".asc"):
            return str(uri)
    raise OutsideError("Debian's index names no source of busybox", reason="busybox-source")
