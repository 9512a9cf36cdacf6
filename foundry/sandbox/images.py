"""The sandbox's other images: the base, OpenShift-like release images, node images."""

from __future__ import annotations

from pathlib import Path

from foundry.base.files import pretty_json, scratch, write_atomic
from foundry.base.times import utc
from foundry.sandbox.daemons import REGISTRY
from foundry.sandbox.debian import Survey
from foundry.sandbox.localstore import LocalStore
from foundry.sandbox.toolkits import kernel_tag

RELEASES = "openshift-release-dev/ocp-release"
_BASE = "busybox:stable"
_FIXED_TIME = 1_700_000_000  # release and node images hold nothing that has a time
_UPSTREAM = "https://busybox.net/downloads/busybox-{version}.tar.bz2"


def build_base(store: LocalStore, survey: Survey, recipes: Path, log: Path) -> dict[str, object]:
    """Make and push the base image; returns the `base` of a lock (schemas/lock.schema.json)."""
    store.build(
        "busybox", recipes / "Containerfile.base", survey.busybox_root.parent, log=log,
        created=survey.busybox_created, arguments={"VERSION": survey.busybox_version},
    )
    reference = store.push("busybox", _BASE, log=log)
    return {
        "name": f"{REGISTRY}/{_BASE}", "digest": reference.partition("@")[2],
        "created": utc(survey.busybox_created),
        "busybox": {
            "version": survey.busybox_version, "source": survey.busybox_source,
            "source_backup": _UPSTREAM.format(version=survey.busybox_version),
            "sha256": {survey.busybox_source: survey.busybox_sha256},
        },
    }


def build_node(store: LocalStore, kernel: str, recipes: Path, log: Path) -> str:
    """A node image whose labels name the kernel; returns its reference by digest."""
    tag = kernel_tag(kernel)
    with scratch(store.work, "node") as context:
        write_atomic(context / "sandbox-node", f"{kernel}\n".encode())
        store.build(
            f"node-{tag.lower()}", recipes / "Containerfile.node", context, log=log, created=_FIXED_TIME,
            arguments={"KERNEL": kernel},
        )
        return store.push(f"node-{tag.lower()}", f"node:{tag}", log=log)


def build_release(
    store: LocalStore, version: str, arch: str, toolkit: str, node: str, recipes: Path, log: Path
) -> str:
    """A release image with release-manifests/image-references; returns its reference by digest."""
    stream = {
        "kind": "ImageStream", "apiVersion": "image.openshift.io/v1", "metadata": {"name": version},
        "spec": {"lookupPolicy": {"local": False}, "tags": [
            {"name": name, "annotations": {"io.openshift.build.versions": f"sandbox={version}"},
             "from": {"kind": "DockerImage", "name": reference}, "generation": 2, "importPolicy": {},
             "referencePolicy": {"type": "Source"}}
            for name, reference in (("driver-toolkit", toolkit), ("rhel-coreos", node))
        ]},
    }
    with scratch(store.work, "release") as context:
        write_atomic(context / "release-manifests/image-references", pretty_json(stream))
        store.build(
            f"release-{version}", recipes / "Containerfile.release", context, log=log, created=_FIXED_TIME,
            arguments={"VERSION": version},
        )
        return store.push(f"release-{version}", f"{RELEASES}:{version}-{arch}", log=log)
