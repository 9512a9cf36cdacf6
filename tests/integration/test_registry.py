"""Reading from a real registry: log-ins, redirects, ranges, faults; the server counts what it sends."""

from __future__ import annotations

import base64
import json
import os
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from foundry.base.errors import FoundryError, OutsideError
from foundry.base.references import Reference, parse_reference
from foundry.catalogue.toolkit_reader import ToolkitFacts, read_toolkit
from foundry.net.transport import RetryPolicy
from foundry.registry.client import Registry
from foundry.registry.credentials import Credentials
from tests.harness.front import Front, front, send
from tests.harness.registry import (
    Pusher,
    compressed,
    htpasswd,
    real_registry,
    release_file,
    tar_of,
    token_issuer,
)
from tests.harness.secrets import PASSWORD, USER, no_secrets

KERNEL = "5.14.0-427.68.2.el9_4.x86_64"
RELEASE = "etc/driver-toolkit-release.json"
TOOLS = os.urandom(3 << 20)  # does not compress
KB, MB = 1 << 10, 1 << 20


@pytest.fixture(scope="module")
def open_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with real_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


def client(one: Front, environ: dict[str, str] | None = None, notes: list[str] | None = None) -> Registry:
    return Registry("registry.test", Credentials({"HOME": "/nonexistent", **(environ or {})}), address=one.address,
                    policy=RetryPolicy(connect=5, read=5, total=60, retries=3),
                    note=([] if notes is None else notes).append)


def auth_file(folder: Path, name: str = "registry.test", secret: str = f"{USER}:{PASSWORD}") -> dict[str, str]:
    file = folder / "auth.json"
    file.write_text(json.dumps({"auths": {name: {"auth": base64.b64encode(secret.encode()).decode()}}}))
    return {"REGISTRY_AUTH_FILE": str(file)}


def toolkit(pusher: Pusher, kind: str = "gzip", *, squashed: bool = False, labels: dict[str, str] | None = None,
            files: dict[str, bytes] | None = None) -> Reference:
    release = {RELEASE: release_file(KERNEL)} if files is None else files
    tools = {"usr/bin/gcc": TOOLS}
    layers = [tar_of(tools | release)] if squashed else [tar_of(tools), tar_of(release)]
    made = pusher.image([compressed(layer, kind) for layer in layers], labels=labels)
    return parse_reference(f"registry.test/{pusher.repository}@{made['digest']}")


def read(registry: Registry, reference: Reference) -> ToolkitFacts:
    return read_toolkit(registry, reference, "x86_64")


@pytest.mark.parametrize("kind", ["gzip", "zstd", "plain"])
def test_the_last_layer_costs_a_few_kilobytes(open_registry: str, kind: str) -> None:
    reference = toolkit(Pusher(open_registry, f"kits/{kind}"), kind)
    with front(open_registry) as one:
        facts = read(client(one), reference)
        assert (facts.release.kernel, facts.release.rhel, facts.label_kernel) == (KERNEL, "9.4", "")
        assert one.sent < 64 * KB
        assert len(one.requests) == 3  # manifest, config, one layer


@pytest.mark.parametrize("kind", ["gzip", "zstd", "plain"])
def test_one_big_layer_costs_the_way_to_the_file_and_at_most_a_mebibyte(open_registry: str, kind: str) -> None:
    before, behind = {"usr/bin/gcc": TOOLS}, {"usr/lib/rest": os.urandom(8 * MB)}
    data = compressed(tar_of(before | {RELEASE: release_file(KERNEL)} | behind), kind)
    made = Pusher(open_registry, f"squashed/{kind}").image([data])
    with front(open_registry) as one:
        facts = read(client(one), parse_reference(f"registry.test/squashed/{kind}@{made['digest']}"))
        assert facts.release.kernel == KERNEL
        assert len(TOOLS) < one.sent < len(TOOLS) + MB + 64 * KB
        assert len(data) > 11 * MB


def test_a_server_without_ranges_is_cut_off(open_registry: str) -> None:
    files = {RELEASE: release_file(KERNEL), "usr/lib/rest": os.urandom(64 * MB)}
    reference = toolkit(Pusher(open_registry, "kits/noranges"), "plain", squashed=True, files=files)
    with front(open_registry, no_ranges=True) as one:
        assert read(client(one), reference).release.kernel == KERNEL
        assert one.sent < 32 * MB  # buffers on the way; the whole has 67 MB


def test_whiteouts_are_respected(open_registry: str) -> None:
    pusher = Pusher(open_registry, "kits/whiteout")
    below = tar_of({RELEASE: release_file(KERNEL)})
    for name in (f"etc/.wh.{Path(RELEASE).name}", ".wh.etc", "etc/.wh..wh..opq"):
        made = pusher.image([below, tar_of({name: b""})])
        with front(open_registry) as one, pytest.raises(FoundryError) as caught:
            read(client(one), parse_reference(f"registry.test/kits/whiteout@{made['digest']}"))
        assert caught.value.reason == "toolkit-release-missing"
        assert one.count("/blobs/") == 2  # config and the top layer: what is below is hidden


def test_an_index_gives_the_platform(open_registry: str) -> None:
    pusher = Pusher(open_registry, "kits/index")
    images = {
        arch: pusher.image([tar_of({RELEASE: release_file(f"5.14.0-427.el9_4.{name}")})], arch=arch)
        for arch, name in (("amd64", "x86_64"), ("arm64", "aarch64"))
    }
    reference = parse_reference(f"registry.test/kits/index@{pusher.index(images)['digest']}")
    with front(open_registry) as one:
        for arch in ("x86_64", "aarch64"):
            assert read_toolkit(client(one), reference, arch).release.kernel == f"5.14.0-427.el9_4.{arch}"
    lonely = parse_reference(f"registry.test/kits/index@{pusher.index({'arm64': images['arm64']})['digest']}")
    with front(open_registry) as one, pytest.raises(FoundryError) as caught:
        read(client(one), lonely)
    assert caught.value.reason == "platform-missing"
    assert "linux/arm64" in caught.value.message


@pytest.mark.parametrize("content, reason", [
    (None, "toolkit-release-missing"),
    (release_file("error: package kernel-core is not installed"), "toolkit-kernel-invalid"),
    (release_file("latest"), "toolkit-kernel-invalid"),
    (release_file(""), "toolkit-release-malformed"),
    (b"<html>", "toolkit-release-malformed"),
    (release_file("5.14.0-427.el9_4.aarch64"), "toolkit-wrong-arch"),
])
def test_a_toolkit_that_says_no_kernel(open_registry: str, content: bytes | None, reason: str) -> None:
    files = {"etc/other": b"x"} if content is None else {RELEASE: content}
    reference = toolkit(Pusher(open_registry, "kits/bad"), files=files)
    with front(open_registry) as one, pytest.raises(FoundryError) as caught:
        read(client(one), reference)
    assert caught.value.reason == reason
    assert caught.value.hint
    assert "\n" not in caught.value.message


def test_a_label_is_compared_and_not_believed(open_registry: str) -> None:
    pusher = Pusher(open_registry, "kits/label")
    with front(open_registry) as one:
        same = read(client(one), toolkit(pusher, labels={"kernel-version": KERNEL.removesuffix(".x86_64")}))
        other = read(client(one), toolkit(pusher, labels={"kernel-version": "5.14.0-1.el9.x86_64"}))
    assert (same.release.kernel, same.label_kernel) == (KERNEL, "")
    assert (other.release.kernel, other.label_kernel) == (KERNEL, "5.14.0-1.el9.x86_64")


def test_basic_auth(tmp_path: Path) -> None:
    with real_registry(tmp_path, htpasswd(tmp_path)) as address, front(address) as one:
        reference = toolkit(Pusher(address, "kits/basic", auth=(USER, PASSWORD)))
        notes: list[str] = []
        assert read(client(one, auth_file(tmp_path), notes), reference).release.kernel == KERNEL
        assert sum("Authorization" not in headers for _, _, headers in one.requests) == 1  # asked for once
        with pytest.raises(OutsideError) as none:
            read(client(one), reference)
        assert (none.value.reason, none.value.exit_code) == ("registry-unauthorized", 3)
        assert "without credentials" in none.value.message
        assert "REGISTRY_AUTH_FILE" in none.value.hint
        with pytest.raises(OutsideError) as wrong:
            read(client(one, auth_file(tmp_path, secret=f"{USER}:{PASSWORD}x"), notes), reference)
        assert "refuses" in wrong.value.message
        no_secrets(notes, none.value.render(), wrong.value.render())


def test_tokens(tmp_path: Path) -> None:
    with token_issuer(tmp_path / "issuer", anonymous=("public/kit",)) as issuer, \
            real_registry(tmp_path, issuer.setting()) as address, front(address) as one:
        scope = ["repository:{}:pull,push"]
        made = {}
        for name in ("private/kit", "public/kit"):
            made[name] = toolkit(Pusher(address, name, token=issuer.token([scope[0].format(name)])))
        assert read(client(one), made["public/kit"]).release.kernel == KERNEL
        assert issuer.asked == [("repository:public/kit:pull", "anyone")]
        issuer.asked.clear()
        registry = client(one, auth_file(tmp_path, "registry.test/private"))
        for _ in range(2):
            assert read(registry, made["private/kit"]).release.kernel == KERNEL
        assert issuer.asked == [("repository:private/kit:pull", "user")]  # one token for all six requests
        with pytest.raises(OutsideError) as caught:
            read(client(one, auth_file(tmp_path, secret="robot:wrong")), made["private/kit"])
        assert caught.value.reason == "registry-unauthorized"
        no_secrets(caught.value.render())


def test_a_token_that_ended_is_replaced(tmp_path: Path) -> None:
    with token_issuer(tmp_path / "issuer") as issuer, real_registry(tmp_path, issuer.setting()) as address, \
            front(address) as one:
        reference = toolkit(Pusher(address, "kit", token=issuer.token(["repository:kit:pull,push"])))
        registry = client(one, auth_file(tmp_path))
        read(registry, reference)
        before = len(issuer.asked)
        one.faults.append(("GET /v2/kit/manifests", lambda handler: send(
            handler, 401, b"", WWW_Authenticate=f'Bearer realm="{issuer.url}/token",service="test-registry",'
            'scope="repository:kit:pull",error="invalid_token"')))
        read(registry, reference)
        assert len(issuer.asked) == before + 1


def test_an_identity_token(tmp_path: Path) -> None:
    with token_issuer(tmp_path / "issuer") as issuer, real_registry(tmp_path, issuer.setting()) as address, \
            front(address) as one:
        reference = toolkit(Pusher(address, "kit", token=issuer.token(["repository:kit:pull,push"])))
        file = tmp_path / "auth.json"
        file.write_text(json.dumps({"auths": {"registry.test": {"identitytoken": PASSWORD}}}))
        assert read(client(one, {"REGISTRY_AUTH_FILE": str(file)}), reference).release.kernel == KERNEL
        assert issuer.asked == [("repository:kit:pull", "user")]


def test_credentials_do_not_follow_a_redirect(tmp_path: Path) -> None:
    with real_registry(tmp_path, htpasswd(tmp_path)) as address, front(address, redirects=True) as one:
        reference = toolkit(Pusher(address, "kit", auth=(USER, PASSWORD)), squashed=True)
        notes: list[str] = []
        assert read(client(one, auth_file(tmp_path), notes), reference).release.kernel == KERNEL
        assert len(one.elsewhere_requests) >= 3
        assert not any("authorization" in name.lower() for _, headers in one.elsewhere_requests for name in headers)
        assert one.count("/blobs/") == 2  # config and first window; the next windows go where it led
        no_secrets(notes)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_passes_is_tried_again(open_registry: str, status: int) -> None:
    reference = toolkit(Pusher(open_registry, "kits/again"))
    with front(open_registry) as one:
        for part in ("/manifests/", "/blobs/"):
            one.faults.append((part, lambda handler: send(handler, status, b"busy", Retry_After="0")))
        notes: list[str] = []
        assert read(client(one, notes=notes), reference).release.kernel == KERNEL
        assert [str(status) in note for note in notes] == [True, True]


def test_a_connection_that_breaks_is_taken_up_at_its_window(open_registry: str) -> None:
    reference = toolkit(Pusher(open_registry, "kits/reset"), "plain", squashed=True)
    total = len(tar_of({"usr/bin/gcc": TOOLS, RELEASE: release_file(KERNEL)}))

    def cut(handler: BaseHTTPRequestHandler) -> None:
        """The beginning of the right answer, then nothing."""
        asked = handler.headers.get("Range", "bytes=0-99999").removeprefix("bytes=")
        handler.send_response_only(206 if "Range" in handler.headers else 200)
        handler.send_header("Content-Length", "100000")
        handler.send_header("Content-Range", f"bytes {asked}/{total}")
        handler.end_headers()
        handler.wfile.write(b"x" * 100)
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_RDWR)
        handler.close_connection = True

    with front(open_registry) as one:
        read(client(one), reference)
        size, windows = one.sent, one.count("/blobs/")
    with front(open_registry) as one:
        one.faults += [("GET /v2/kits/reset/manifests", cut)]
        one.after("/blobs/", 4, cut)
        assert read(client(one), reference).release.kernel == KERNEL
        assert one.count("/manifests/") == 2
        assert one.count("/blobs/") == windows + 1
        assert one.sent == size  # nothing that had come was asked for again


def test_what_is_not_there_is_missing_and_not_unreachable(open_registry: str) -> None:
    digest = "sha256:" + "0" * 64
    with front(open_registry) as one, pytest.raises(FoundryError) as caught:
        read(client(one), parse_reference(f"registry.test/kits/none@{digest}"))
    assert (caught.value.reason, caught.value.exit_code) == ("image-missing", 1)
    assert len(one.requests) == 1


def test_bytes_that_are_not_what_the_digest_says(open_registry: str) -> None:
    reference = toolkit(Pusher(open_registry, "kits/forged"))
    with front(open_registry) as one:
        one.faults.append(("/manifests/", lambda handler: send(handler, 200, b'{"schemaVersion": 2}')))
        with pytest.raises(FoundryError) as caught:
            read(client(one), reference)
    assert caught.value.reason == "digest-mismatch"


def test_nobody_listens() -> None:
    one = Front("", address="127.0.0.1:1")
    registry = Registry("registry.test", Credentials({"HOME": "/nonexistent"}), address=one.address,
                        policy=RetryPolicy(connect=1, read=1, total=5, retries=1))
    with pytest.raises(OutsideError) as caught:
        read(registry, parse_reference(f"registry.test/kit@sha256:{'0' * 64}"))
    assert caught.value.reason == "http-unreachable"
