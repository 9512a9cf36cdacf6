"""Pushing to a real registry: what is sent, how often, and what is done about the faults that registries have."""

from __future__ import annotations

import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from foundry.base.errors import FoundryError, OutsideError
from foundry.net.transport import RetryPolicy
from foundry.registry.push import Content
from tests.harness.front import Front, says, swallow
from tests.harness.registry import OCI_MANIFEST, Pusher, compressed, tar_of
from tests.integration.pushing import digest_of, image, sample, writer

MB = 1 << 20
MANIFESTS, BLOBS, UPLOADS = "/manifests/", "/blobs/sha256:", "/blobs/uploads/"
UNKNOWN = json.dumps({"errors": [{"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown to registry"}]}).encode()


def has(one: Front, content: Content, tag: str) -> bool:
    """Whether a second pair of eyes sees the image as it was pushed."""
    found = writer(one).tagged(tag)
    return found is not None and found.data == content.manifest


def sixty() -> list[Content]:
    base, licences = os.urandom(2 * MB), os.urandom(MB // 4)
    return [image([base, licences, os.urandom(2000)], f"cell {number}") for number in range(60)]


@pytest.mark.parametrize("threads", [1, 8])
def test_images_share_layers_that_are_sent_once(one: Front, threads: int) -> None:
    images, ours = sixty(), writer(one)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda pair: ours.push(pair[1], f"cell-{threads}-{pair[0]}"), enumerate(images)))
    blobs = {digest: data for content in images for digest, data in content.blobs.items()}
    assert one.count(UPLOADS, "PUT") == one.count(UPLOADS, "POST") == len(blobs) == ours.sent.blobs == 122
    assert one.count(MANIFESTS, "PUT") == 60
    assert ours.sent.bytes == sum(map(len, blobs.values()))
    assert one.taken == ours.sent.bytes + sum(len(content.manifest) for content in images)
    assert all(has(one, content, f"cell-{threads}-{number}") for number, content in enumerate(images))


def test_the_second_time_no_blob_is_sent(one: Front) -> None:
    content = sample()
    ours = writer(one)
    ours.push(content, "again")
    before = len(one.requests)
    ours.push(content, "again")
    assert [verb for verb, *_ in one.requests[before:]] == ["PUT", "GET"]  # `tagged` is for those who want neither
    another = writer(one)
    another.push(content, "again")
    assert another.sent.blobs == 0
    assert one.count(UPLOADS, "PUT") == 2


def test_connections_are_kept(one: Front) -> None:
    ours = writer(one)
    for number in range(5):
        ours.push(sample(), f"kept-{number}")
    assert one.connections == 1


@pytest.mark.parametrize("named", [True, False])
def test_what_is_read_back_is_compared(one: Front, named: bool) -> None:
    content = sample()
    other = image([], "another").manifest
    digest = content.digest if named else digest_of(other)
    one.faults.append((f"GET /v2/library/kmod{MANIFESTS}", says(
        200, other, Content_Type=OCI_MANIFEST, Docker_Content_Digest=digest)))
    with pytest.raises(FoundryError) as caught:
        writer(one).push(content, "compared")
    assert caught.value.reason == ("digest-mismatch" if named else "push-mismatch")
    assert content.digest in caught.value.message and digest_of(other) in caught.value.message
    one.faults.append((f"GET /v2/library/kmod{MANIFESTS}", says(404)))
    with pytest.raises(FoundryError, match="read back as nothing"):
        writer(one).push(content, "compared")


def test_an_index_is_not_pushed_as_an_image(one: Front) -> None:
    index = json.dumps({"schemaVersion": 2, "manifests": []}).encode()
    with pytest.raises(FoundryError) as caught:
        writer(one).push(Content(index, "", digest_of(index), {}), "index")
    assert caught.value.reason == "manifest-unsupported"
    assert not one.requests


def test_a_connection_that_breaks_in_a_blob(one: Front) -> None:
    content = sample(8 * MB)
    notes: list[str] = []
    one.cuts.append((f"PUT /v2/library/kmod{UPLOADS}", 3 * MB))
    ours = writer(one, notes=notes)
    ours.push(content, "cut")
    assert has(one, content, "cut")
    assert len(notes) == 1 and "127.0.0.1" in notes[0]
    assert one.count(UPLOADS, "DELETE") == 1  # the registry refuses: it has other bytes than when this began
    assert ours.sent.blobs == 2


def test_an_upload_that_the_registry_forgot_is_begun_again(one: Front) -> None:
    content = sample()
    for code, status in (("BLOB_UPLOAD_UNKNOWN", 404), ("BLOB_UPLOAD_INVALID", 416), ("DIGEST_INVALID", 400)):
        said = json.dumps({"errors": [{"code": code, "message": "no"}]}).encode()
        one.faults.append((f"PUT /v2/library/kmod{UPLOADS}", says(status, said)))
    writer(one).push(content, "forgotten")
    assert has(one, content, "forgotten")


@pytest.mark.parametrize("request_", ["HEAD", "POST", "PUT /v2/library/kmod/blobs", "PUT /v2/library/kmod/manifests",
                                      "GET"])
@pytest.mark.parametrize("status", [500, 503, 429])
def test_what_passes_is_healed(one: Front, request_: str, status: int) -> None:
    content = sample()
    notes: list[str] = []
    one.faults.append((request_, says(status)))
    writer(one, notes=notes).push(content, "healed")
    assert has(one, content, "healed")
    assert [str(status) in note for note in notes] == [True]


@pytest.mark.parametrize("request_", ["HEAD", "POST", "PUT /v2/library/kmod/manifests"])
def test_what_does_not_pass_ends(one: Front, request_: str) -> None:
    one.always(request_, says(502))
    with pytest.raises(OutsideError) as caught:
        writer(one, policy=RetryPolicy(5, 5, 60, 2)).push(sample(), "broken")
    assert (caught.value.reason, caught.value.retry, caught.value.exit_code) == ("http-status", True, 3)
    wanted, part = request_.split(maxsplit=1)[0], request_.partition(" ")[2]
    assert sum(verb == wanted and part in path for verb, path, _ in one.requests) in (1, 3)


def test_everything_is_broken(one: Front) -> None:
    one.always("", says(502))
    with pytest.raises(OutsideError) as caught:
        writer(one, policy=RetryPolicy(5, 5, 60, 2)).push(sample(), "broken")
    assert caught.value.retry
    assert len(one.requests) == 3


def test_the_wait_that_is_asked_for_is_kept(one: Front) -> None:
    content = sample()
    one.faults.append(("PUT /v2/library/kmod/blobs", says(429, Retry_After="2")))
    started = time.monotonic()
    writer(one).push(content, "waited")
    assert 2 <= time.monotonic() - started < 5
    assert has(one, content, "waited")


def test_a_registry_that_asks_for_pauses_gets_them_as_long_as_there_is_time(one: Front) -> None:
    """However often; one that asks for more than there is ends it at once, and says when to come again."""
    content = sample()
    one.faults += [("PUT /v2/library/kmod/blobs", says(429, Retry_After="1"))] * 5
    writer(one).push(content, "patient")
    assert has(one, content, "patient")
    one.always("PUT /v2/library/kmod/manifests", says(429, Retry_After="3600"))
    started = time.monotonic()
    with pytest.raises(OutsideError) as caught:
        writer(one).push(content, "too-long")
    assert time.monotonic() - started < 5
    assert (caught.value.reason, caught.value.retry) == ("http-status", True)
    assert caught.value.hint == "the server asks to wait 3600 s: run again then"


@pytest.mark.parametrize("date, refused", [
    ("Fri, 01 Jan 2100 00:00:00 GMT", True), ("Sat, 01 Jan 2000 00:00:00 GMT", True), ("", False), ("today", False),
    ("Mon, 01 Jan 0001 00:00:00 GMT", True),
])
def test_a_clock_that_is_not_the_registrys_ends_it(one: Front, date: str, refused: bool) -> None:
    """What is published gets the time of this machine, and other machines refuse one that is to come."""
    one.faults.append(("POST", says(202, Location=f"/v2/library/kmod{UPLOADS}x", Date=date)))
    if not refused:
        writer(one).check()
        return
    with pytest.raises(OutsideError, match="by this machine's clock it is 2") as caught:
        writer(one).check()
    assert (caught.value.reason, caught.value.exit_code) == ("clock", 3)


def test_a_manifest_that_was_taken_and_not_answered_is_not_pushed_twice(one: Front) -> None:
    content = sample()
    one.faults.append((f"PUT /v2/library/kmod{MANIFESTS}", swallow(one)))
    writer(one).push(content, "swallowed")
    assert one.count(MANIFESTS, "PUT") == 1
    one.faults.append((f"PUT /v2/library/kmod{MANIFESTS}", lambda handler: time.sleep(1.5)))
    writer(one, policy=RetryPolicy(5, 0.5, 60, 3)).push(content, "silent")
    assert one.count(MANIFESTS, "PUT") == 3  # that one had not been taken


def test_a_blob_that_was_taken_and_not_answered_is_not_sent_twice(one: Front) -> None:
    content = sample()
    one.faults.append((f"PUT /v2/library/kmod{UPLOADS}", swallow(one)))
    writer(one).push(content, "taken")
    assert one.count(UPLOADS, "PUT") == 2
    assert has(one, content, "taken")


@pytest.mark.parametrize("status", [400, 404])
def test_a_blob_lost_before_the_manifest_is_sent_again(one: Front, status: int) -> None:
    content = sample()
    one.faults.append((f"PUT /v2/library/kmod{MANIFESTS}", says(status, UNKNOWN)))
    writer(one).push(content, "lost")
    assert has(one, content, "lost")
    one.always(f"PUT /v2/library/kmod{MANIFESTS}", says(status, UNKNOWN))
    before = len(one.requests)
    with pytest.raises(FoundryError) as caught:
        writer(one).push(content, "lost")
    assert caught.value.reason == "push-mismatch"
    assert "registry.test/library/kmod loses blobs of lost" in caught.value.message
    assert caught.value.hint
    assert len(one.requests) - before == 6


def test_a_blob_accepted_and_dropped(one: Front) -> None:
    content = sample()
    [first] = [digest for digest in content.blobs if len(content.blobs[digest]) == 1 << 16]
    answered = says(201)
    one.faults.append((f"PUT /v2/library/kmod{UPLOADS}", answered))  # of the configuration: nothing is kept
    ours = writer(one)
    ours.push(content, "dropped")
    assert has(one, content, "dropped")
    assert one.count(UPLOADS, "PUT") == 3
    content = sample()
    one.always(f"PUT /v2/library/kmod{UPLOADS}", answered)
    with pytest.raises(FoundryError) as caught:
        writer(one).push(content, "dropped-always")
    assert caught.value.reason == "push-mismatch"
    assert first not in caught.value.message


def test_a_blob_lost_after_the_manifest(one: Front) -> None:
    content, ours = sample(), writer(one)
    part = f"HEAD /v2/library/kmod/blobs/{next(iter(content.blobs))}"
    one.after(part.partition(" ")[2], 2, says(404))  # the first answer is that it is not there yet
    ours.push(content, "late")
    assert has(one, content, "late")
    content = sample()
    for method in ("HEAD", "GET"):
        one.always(f"{method} /v2/library/kmod{BLOBS}", says(404))
    with pytest.raises(FoundryError) as caught:
        writer(one).push(content, "late")
    assert caught.value.reason == "push-mismatch"
    assert "after it had taken it" in caught.value.message


def test_another_program_reads_what_was_pushed(one: Front, tmp_path: Path, upstream: str) -> None:
    archive = tmp_path / "image"
    maker = Pusher(upstream, "made/elsewhere")
    maker.image([compressed(tar_of({"lib/modules/x.ko": os.urandom(5000)}), "plain")], tag="x")
    skopeo("copy", "--src-tls-verify=false", f"docker://{upstream}/made/elsewhere:x", f"oci:{archive}:x")
    ours = writer(one, "library/witnessed")
    content = from_layout(archive)
    ours.push(content, "x")
    target = f"docker://{one.address}/library/witnessed:x"
    assert json.loads(skopeo("inspect", "--tls-verify=false", target))["Digest"] == content.digest
    assert skopeo("inspect", "--raw", "--tls-verify=false", target) == content.manifest.decode()
    skopeo("copy", "--src-tls-verify=false", target, f"oci-archive:{tmp_path / 'back.tar'}")


def from_layout(folder: Path) -> Content:
    blobs = {f"sha256:{file.name}": file.read_bytes() for file in (folder / "blobs/sha256").iterdir()}
    [entry] = json.loads((folder / "index.json").read_text())["manifests"]
    return Content(blobs[entry["digest"]], entry["mediaType"], entry["digest"], blobs)


def skopeo(*arguments: str) -> str:
    done = subprocess.run(["skopeo", *arguments], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
