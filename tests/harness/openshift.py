"""OpenShift for tests: a release graph and Quay's list of tags on loopback, release images in a real registry.

The servers answer in the real shapes; what goes wrong is switched on at the fronts before them.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from tests.harness.clone import Clone, Run
from tests.harness.front import Front, front, send, serving
from tests.harness.registry import Pusher, real_registry, release_file, tar_of
from tests.harness.rpmtools import Key, sign_message

CATALOGUE = "driver-toolkit/driver-toolkit.json"
GRAPH, TAGS = "/api/upgrades_info/graph", "/api/v1/repository/openshift-release-dev/ocp-release/tag/"
PAYLOADS, IMAGES = "openshift-release-dev/ocp-release", "openshift-release-dev/ocp-v4.0-art-dev"
SIGNATURES = "/signatures/openshift/release"
TOOLKIT_FILE = "etc/driver-toolkit-release.json"
REFERENCES = "release-manifests/image-references"
META = "usr/share/openshift/base/meta.json"
OLD, NEW = "5.14.0-427.68.2.el9_4.x86_64", "5.14.0-570.12.1.el9_6.x86_64"
LOCK = {
    "schema": 1, "packages": {}, "base": {
        "name": "public.ecr.aws/docker/library/busybox:stable-musl", "digest": "sha256:" + "e" * 64,
        "created": "2025-01-02T03:04:05Z",
        "busybox": {"version": "1.37.0", "source": "https://busybox.net/x.tar.bz2"},
    },
}
_ARCH = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass
class OpenShift:
    """All releases that there are, by version and architecture (``x86_64``), and where they are served."""

    registry: Front
    lists: Front
    payloads: dict[tuple[str, str], str] = field(default_factory=dict)
    channels: dict[str, list[str]] = field(default_factory=dict)  # extra nodes, by channel
    validators: str = "ETag"  # what answers have to ask after them with: that, Last-Modified, or nothing
    page: int = 100
    auth: tuple[str, str] | None = None  # what pushing needs
    token: str = ""
    files: dict[str, bytes] = field(default_factory=dict)  # what the lists' server has besides, by path
    clones: int = 0

    def clear(self) -> None:
        """Forget all releases, settings, faults and requests."""
        self.payloads.clear()
        self.channels.clear()
        self.files.clear()
        self.validators, self.page, self.auth, self.token = "ETag", 100, None, ""
        for server in (self.lists, self.registry):
            server.faults.clear()
            server.standing.clear()
            server.requests.clear()

    def push(self, layers: Sequence[bytes], arch: str = "x86_64", repository: str = IMAGES, **more: Any) -> str:
        """An image of layers, the last one last; ``quay.io/…@sha256:…``."""
        oci = {"x86_64": "amd64", "aarch64": "arm64"}[arch]
        made = Pusher(self.registry.upstream, repository, self.auth, self.token).image(layers, arch=oci, **more)
        return f"quay.io/{repository}@{made['digest']}"

    def toolkit(self, kernel: str, *, arch: str = "x86_64", rt: str = "", salt: str = "") -> str:
        return self.push([tar_of({"usr/bin/gcc": salt.encode()}), tar_of({TOOLKIT_FILE: release_file(kernel, rt)})],
                         arch)

    def node(self, labels: Mapping[str, str], *, files: Mapping[str, bytes] | None = None, arch: str = "x86_64",
             salt: str = "") -> str:
        return self.push([tar_of({"etc/os-release": salt.encode()}), tar_of(files or {"etc/x": b"x"})], arch,
                         labels=labels)

    def payload(self, tags: Mapping[str, str], name: str = "4.18.15") -> str:
        """A release image whose last layer begins with its list of images."""
        content = {REFERENCES: image_stream(tags, name), "release-manifests/0000_manifest.yaml": filler(1 << 16)}
        return self.push([tar_of({"usr/bin/cvo": b"x"}), gzip.compress(tar_of(content), mtime=0)],
                         repository=PAYLOADS)

    def release(self, version: str, kernel: str = OLD, *, node: str | None = None, arch: str = "x86_64",
                more: Mapping[str, str] | None = None, rt: str = "") -> str:
        """A release with toolkit and node of its own; `node` is the nodes' kernel where that is another one."""
        tags = {
            "cli": self.push([tar_of({"usr/bin/oc": b"x"})], arch),
            "driver-toolkit": self.toolkit(kernel, arch=arch, rt=rt, salt=version),
            "rhel-coreos": self.node({"ostree.linux": node or kernel}, arch=arch, salt=version), **(more or {}),
        }
        self.payloads[version, arch] = self.payload(tags, version)
        return self.payloads[version, arch]

    def sign(self, payload: str, key: Key, *, number: int = 1, **changes: Any) -> None:
        """Have a good signature beside the others; `changes` are those of `signed_text`."""
        self.files[self.signature(payload, number)] = sign_message(signed_text(payload, **changes), key)

    def signature(self, payload: str, number: int = 1) -> str:
        """Where a signature of a release image is, as a path of the lists' server."""
        return f"{SIGNATURES}/{payload.partition('@')[2].replace(':', '=')}/signature-{number}"

    def signing(self, key: Key) -> dict[str, Any]:
        """The setting `releases.signatures` of a clone; the key is served."""
        self.files["/key"] = key.file.read_bytes()
        return {"url": f"http://{self.lists.address}{SIGNATURES}/", "key_url": f"http://{self.lists.address}/key",
                "fingerprint": key.fingerprint}

    def clone(self, folder: Path, matrix: Sequence[str] = ("4.16", "4.18"), **settings: Any) -> Clone:
        """A checkout in the profile `local` that asks these servers, with an empty catalogue and a lock."""
        self.clones += 1
        clone = Clone(folder / f"clone{self.clones}", folder / "no-services")
        clone.profile = "local"
        clone.extra = {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
        profile = {
            "addresses": {"quay.io": self.registry.address, "public.ecr.aws": self.registry.address},
            **{name: value for name, value in settings.items() if name != "releases"},
            "releases": {"graph": f"http://{self.lists.address}{GRAPH}", "tags": f"http://{self.lists.address}{TAGS}",
                         "signatures": None, **settings.get("releases", {})},
        }
        (clone.root / "config/profiles/local.yaml").write_text(yaml.safe_dump(profile))
        clone.write("config/locks/neuron.json", LOCK)
        clone.write("build-matrix.json", [{"driver": "2.22.2.0", "ocp_versions": list(matrix)}])
        return clone


def signed_text(payload: str, **changes: Any) -> bytes:
    """What is signed of a release image; `changes` are fields of ``critical``, or ``more`` beside that."""
    name, _, digest = payload.partition("@")
    more = changes.pop("more", {"optional": {"creator": "a test"}})
    return json.dumps({"critical": {
        "image": {"docker-manifest-digest": digest}, "type": "atomic container signature",
        "identity": {"docker-reference": f"{name}:4.18.15-x86_64"}, **changes,
    }, **more}).encode()


def image_stream(tags: Mapping[str, str], name: str = "4.0.0") -> bytes:
    return json.dumps({
        "kind": "ImageStream", "apiVersion": "image.openshift.io/v1", "metadata": {"name": name},
        "spec": {"lookupPolicy": {"local": False}, "tags": [
            {"name": tag, "annotations": {"io.openshift.build.versions": "machine-os=418.94"},
             "from": {"kind": "DockerImage", "name": image}, "generation": 2} for tag, image in tags.items()]},
    }).encode()


def filler(size: int, seed: int = 7) -> bytes:
    """Bytes that do not compress, always the same."""
    return random.Random(seed).randbytes(size)


def packages(kernel: str) -> bytes:
    """The list of packages of a node image."""
    version, _, rest = kernel.partition("-")
    release, _, arch = rest.rpartition(".")
    rows = [["bash", "0", "5.1.8", "9.el9", arch], ["kernel-core", "0", version, release, arch]]
    return json.dumps({"rpmdb.pkglist": rows}).encode()


def with_hard_link() -> bytes:
    """As Docker's official image: the first applet is the file, busybox a hard link to it."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        data = b"\x7fELF" + filler(3000) + b"BusyBox v1.36.1 (2024-06-10 07:11:47 UTC)\0syslogd: BusyBox v1.36.1\0"
        first = tarfile.TarInfo("bin/[")
        first.size = len(data)
        archive.addfile(first, io.BytesIO(data))
        link = tarfile.TarInfo("bin/busybox")
        link.type, link.linkname = tarfile.LNKTYPE, "bin/["
        archive.addfile(link)
    return gzip.compress(sink.getvalue(), mtime=0)


@contextmanager
def openshift(folder: Path, auth: Mapping[str, Any] | None = None) -> Iterator[OpenShift]:
    """A registry and the lists, each behind a front that counts and disturbs."""
    shown: list[OpenShift] = []

    class Lists(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            if parts.path in shown[0].files or parts.path.startswith(SIGNATURES):
                found = shown[0].files.get(parts.path)
                send(self, 404 if found is None else 200, found or b"")
                return
            document = _graph(shown[0], query) if parts.path == GRAPH else _tags(shown[0], query)
            body = json.dumps(document).encode()
            known = hashlib.sha256(body).hexdigest()
            # as opaque to a client as the other one
            tag = f'"{known[:16]}"' if shown[0].validators == "ETag" else formatdate(int(known[:7], 16), usegmt=True)
            same = tag in (self.headers.get("If-None-Match"), self.headers.get("If-Modified-Since"))
            headers = {shown[0].validators: tag} if shown[0].validators else {}
            send(self, 304 if same and headers else 200, b"" if same and headers else body, **headers)

        def log_message(self, *_: object) -> None:
            return

    with real_registry(folder / "registry", auth) as address, front(address) as registry, \
            serving(Lists) as port, front(f"127.0.0.1:{port}") as lists:
        shown.append(OpenShift(registry, lists))
        yield shown[0]


def _graph(world: OpenShift, query: Mapping[str, str]) -> dict[str, Any]:
    """A channel holds its minor and the ones below."""
    minor = query["channel"].rpartition("-")[2]
    nodes = [
        {"version": version, "payload": payload, "metadata": {"url": "https://access.redhat.com/errata/x"}}
        for (version, arch), payload in world.payloads.items()
        if arch == _ARCH[query["arch"]] and int(version.split(".")[1]) <= int(minor.split(".")[1])
    ]
    nodes += [{"version": version, "payload": "quay.io/x/y@sha256:" + "9" * 64}
              for version in world.channels.get(query["channel"], [])]
    return {"version": 1, "nodes": nodes, "edges": [[0, 1]] if len(nodes) > 1 else [], "conditionalEdges": []}


def _tags(world: OpenShift, query: Mapping[str, str]) -> dict[str, Any]:
    begin, page = query["filter_tag_name"].removeprefix("like:"), int(query["page"])
    names = [{"name": f"{version}-{arch}", "manifest_digest": payload.partition("@")[2], "reversion": False}
             for (version, arch), payload in world.payloads.items() if version.startswith(begin)]
    names += [{"name": f"{begin}99-rc.1-x86_64", "manifest_digest": "sha256:" + "8" * 64},
              {"name": f"{begin}5-multi", "manifest_digest": "sha256:" + "7" * 64}]
    end = page * world.page
    return {"tags": names[end - world.page:end], "page": page, "has_additional": len(names) > end}


@contextmanager
def untouched(clone: Clone) -> Iterator[None]:
    """Neither catalogue nor lock changes in the block, in content or time; nothing half-done is left."""
    paths = [clone.root / CATALOGUE, clone.root / "config/locks/neuron.json"]
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in paths]
    yield
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in paths] == before
    left = [path for folder in ("driver-toolkit", "config/locks", "build/local/toolkits")
            for path in (clone.root / folder).rglob(".*")]
    assert left == []


def failed(run: Run, code: int, *words: str) -> None:
    """One sentence with the words and a hint, the exit code, no traceback."""
    assert "Traceback" not in run.text, run.text
    assert run.code == code, run.text
    lines = run.out.splitlines()
    sentence = next((line for line in lines if line.startswith("  FAILED toolkit: ")), "")
    assert sentence, run.text
    for word in words:
        assert word in run.out, (word, run.out)
    assert any(line.startswith("  hint: ") for line in lines), run.out
