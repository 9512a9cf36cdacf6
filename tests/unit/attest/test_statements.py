"""What is said of images, from records and files alone; and what of it the image or its ledger does not bear out."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from foundry.attest import sbom, test_result
from foundry.attest.check import faults_of_image, faults_of_ledger
from foundry.attest.statements import KINDS, SIGNATURE_TYPE
from foundry.base.files import sha256_bytes
from foundry.base.names import KEY_LABEL
from foundry.formats.attestations.bundle import (
    Statement,
    make_bundle,
    make_file_bundle,
    parse_bundle,
    parse_statement,
    signature_of_file,
)
from foundry.formats.images.rootfs import Entry
from foundry.plan.rows import Row
from foundry.run.builder import WORKSTATION, builder, commit

DIGEST = f"sha256:{'a' * 64}"
ACTIONS = {
    "GITHUB_ACTIONS": "true", "GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "me/mine",
    "GITHUB_WORKFLOW_REF": "me/mine/.github/workflows/build.yml@refs/heads/main", "GITHUB_RUN_ID": "12",
    "GITHUB_RUN_ATTEMPT": "2",
}


@pytest.fixture(autouse=True)
def _at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ACTIONS:
        monkeypatch.delenv(name, raising=False)


def test_the_builder(monkeypatch: pytest.MonkeyPatch) -> None:
    assert builder() == {"id": WORKSTATION}
    for name, value in ACTIONS.items():
        monkeypatch.setenv(name, value)
    assert builder() == {
        "id": "https://github.com/me/mine/.github/workflows/build.yml@refs/heads/main",
        "invocation": "https://github.com/me/mine/actions/runs/12/attempts/2"}
    monkeypatch.delenv("GITHUB_RUN_ID")
    assert builder() == {"id": WORKSTATION}


def test_the_commit(tmp_path: Path) -> None:
    assert commit(tmp_path) == ("", False)
    here = tmp_path / "checkout"

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", here, "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True,
                              capture_output=True, text=True)
        return done.stdout.strip()

    here.mkdir()
    git("init", "-q")
    (here / "file").write_text("a")
    git("add", "file")
    git("commit", "-qm", "one")
    (here / "untracked").write_text("b")
    assert commit(here) == (git("rev-parse", "HEAD"), False)
    commit.cache_clear()
    (here / "file").write_text("c")
    assert commit(here) == (git("rev-parse", "HEAD"), True)


def gate(*, ok: bool = True) -> dict[str, Any]:
    return {"gate": {"a.ko": {"findings": [{"id": "elf", "ok": True, "detail": "an object"},
                                           {"id": "name", "ok": ok, "detail": "its name is a"}]}},
            "symvers_sha256": "b" * 64}


PROVEN = {"outcome": "proven", "checks": [{"name": "loads", "ok": True, "detail": "a: yes"}], "warnings": [],
          "kernel_sha256": "c" * 64, "accelerator": "tcg (no KVM)", "qemu": "QEMU 7", "secure_boot": True}


def test_test_results() -> None:
    said = test_result.predicate(gate(), PROVEN)
    assert said["result"] == "PASSED" and said["warnedTests"] == said["failedTests"] == []
    assert said["passedTests"] == ["gate a.ko: elf: an object", "gate a.ko: name: its name is a", "boot: loads: a: yes"]
    [_, kernel] = said["configuration"]
    assert kernel["annotations"] == {"accelerator": "tcg", "qemu": "QEMU 7", "secure_boot": "True"}
    assert test_result.predicate(gate(), None)["result"] == "PASSED"
    said = test_result.predicate(gate(), {"outcome": "unproven", "fault": "there is no vmlinuz"})
    assert (said["result"], said["warnedTests"]) == ("WARNED", ["boot: there is no vmlinuz"])
    assert test_result.predicate(gate(), {**PROVEN, "warnings": ["BUG"]})["result"] == "WARNED"
    assert test_result.predicate(gate(ok=False), PROVEN)["result"] == "FAILED"


FILES = {
    "bin": Entry("folder"), "bin/busybox": Entry("file", b"busybox"), "bin/sh": Entry("file", b"busybox"),
    "bin/ls": Entry("link", target="busybox"), "etc/passwd": Entry("file", b"root"), "empty": Entry("file", b""),
    "opt/lib/modules/5.14/a.ko": Entry("file", b"module"), "opt/lib/firmware/v/f.bin": Entry("file", b"firmware"),
}
DRIVER = sbom.Part("package", "1.2", "GPL-2.0-only", {"https://example.com/p.rpm": "d" * 64}, "rpm")
CPE = "cpe:2.3:a:busybox:busybox:1.36.1:*:*:*:*:*:*:*"
BUSYBOX = sbom.Part("busybox", "1.36.1", "GPL-2.0-only", {}, "generic", CPE)


def bill(files: dict[str, Entry] | None = None, **changes: Any) -> Any:
    image = sbom.Image("kmod", "1.2-5.14", DIGEST, "2026-01-02T03:04:05Z", FILES if files is None else files)
    return sbom.predicate(image, **{"driver": DRIVER, "busybox": BUSYBOX, **changes})


def test_a_bill_of_materials() -> None:
    made = bill()
    assert made == bill()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(made)) is None
    assert {(part["type"], part["name"], part.get("version")) for part in made["components"]} == {
        ("application", "busybox", "1.36.1"), ("device-driver", "a", "1.2"), ("firmware", "v/f.bin", "1.2"),
        ("file", "etc/passwd", None), ("file", "empty", None)}
    assert sbom.file_hashes(made) == {sha256_bytes(one.content) for one in FILES.values() if one.kind == "file"}
    assert made["metadata"]["component"]["purl"].startswith("pkg:oci/kmod@sha256")
    # another base: its shell is a file as any other
    assert not [part for part in bill(busybox=None)["components"] if part["type"] == "application"]


@pytest.mark.parametrize("words", [
    "GPL-2.0", "GPLv2", "GPL-2.0-only WITH Linux-syscall-note", "Dual MIT/GPL", "Unknown"])
def test_any_license(words: str) -> None:
    part = sbom.Part("package", "1.2", words, {}, "rpm")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill(driver=part))) is None


def said(kind: str, predicate: dict[str, Any]) -> bytes:
    return Statement(DIGEST, kind, predicate, "tag").to_bytes()


KEY = "e" * 64
LABELS = {KEY_LABEL: KEY, "a": "b"}
OUTSIDE = {"driver": "1.2", "family": "f", "kernel": "5.14", "arch": "x86_64"}


def provenance(labels: dict[str, str] | None = None, **changes: Any) -> bytes:
    inside = {"key": KEY, "keyInputs": {"kernel": "5.14"}, "labels": labels or LABELS}
    return said(KINDS["provenance"], {"buildDefinition": {"externalParameters": OUTSIDE,
                                                          "internalParameters": inside, **changes}})


def row_of(there: dict[str, list[bytes]]) -> Row:
    named = {name: sha256_bytes(there[kind][0]) for name, kind in KINDS.items() if kind in there}
    return Row("5.14", "x86_64", KEY, {"kernel": "5.14"}, DIGEST, ("tag",), ("r/n",), (), f"t@{DIGEST}", "f" * 64,
               attestations=named)


GOOD = {
    SIGNATURE_TYPE: [said(SIGNATURE_TYPE, {})], KINDS["provenance"]: [provenance()],
    KINDS["sbom"]: [said(KINDS["sbom"], bill())],
    KINDS["test-result"]: [said(KINDS["test-result"], {"result": "PASSED"})],
}


def test_all_is_borne_out() -> None:
    assert list(faults_of_ledger(GOOD, row_of(GOOD), "1.2", "f")) == []
    assert list(faults_of_image(GOOD, LABELS, FILES, row_of(GOOD))) == []


@pytest.mark.parametrize("change, fault", [
    ({KINDS["provenance"]: [provenance({**LABELS, "a": "c"})]}, "its provenance has other labels: a"),
    ({KINDS["provenance"]: [provenance({KEY_LABEL: KEY, "c": "d", "a": "b"})]}, "its provenance has other labels: c"),
    ({KINDS["sbom"]: [said(KINDS["sbom"], bill({"other": Entry("file", b"other")}))]}, "names 1 files that it"),
    ({KINDS["test-result"]: [said(KINDS["test-result"], {"result": "FAILED"})]}, "its test result is 'FAILED'"),
])
def test_what_the_image_does_not_bear_out(change: dict[str, list[bytes]], fault: str) -> None:
    there = {**GOOD, **change}
    [found] = faults_of_image(there, LABELS, FILES, row_of(there))
    assert fault in found
    # others that lie there too, and that the row does not name, don't count
    both = {kind: [*GOOD[kind], *there[kind]] for kind in GOOD}
    assert list(faults_of_image(both, LABELS, FILES, row_of(GOOD))) == []


@pytest.mark.parametrize("driver, family", [("1.3", "f"), ("1.2", "g")])
def test_provenance_of_another_cell(driver: str, family: str) -> None:
    assert list(faults_of_ledger(GOOD, row_of(GOOD), driver, family)) == [
        "its provenance is of another cell, or of other inputs, than the ledger's"]


def test_what_is_missing() -> None:
    assert "no key of" in next(faults_of_ledger({}, row_of({}), "1.2", "f"))
    for name, kind in KINDS.items():
        [fault] = faults_of_ledger({one: GOOD[one] for one in GOOD if one != kind}, row_of(GOOD), "1.2", "f")
        assert fault.startswith(f"its {name}, which the ledger names")


@pytest.mark.parametrize("data", [
    b"", b"{}", b"[]", b"\xff", b'{"dsseEnvelope": 1}', b'{"dsseEnvelope": {"payloadType": "x"}}', b"[" * 100_000,
    b'{"dsseEnvelope": {"payloadType": "application/vnd.in-toto+json", "payload": "?", "signatures": []}}',
    b'{"messageSignature": {"signature": 1}}', b'{"messageSignature": {"signature": "?"}}',
])
def test_bundles_that_are_none(data: bytes) -> None:
    assert parse_bundle(data) is None and signature_of_file(data) == b"" and parse_statement(data) is None


@pytest.mark.parametrize("change", [
    {"_type": "https://in-toto.io/Statement/v0.1"}, {"subject": []}, {"predicate": []},
    {"subject": [{"digest": {"sha256": "a"}}, {"digest": {"sha256": "b"}}]}, {"subject": [{"digest": {"sha512": "a"}}]},
])
def test_statements_that_are_none(change: dict[str, Any]) -> None:
    document = json.loads(Statement(DIGEST, "https://example.com", {}).to_bytes())
    assert parse_statement(json.dumps(document).encode()) is not None
    assert parse_statement(json.dumps({**document, **change}).encode()) is None


def test_what_is_signed_is_named() -> None:
    """DSSE signs the type with the payload, so that one kind of content is never taken for another."""
    signed: list[bytes] = []

    def sign(content: bytes) -> bytes:
        signed.append(content)
        return b"signature"

    found = parse_bundle(make_bundle(b"payload", sign, "0" * 64))
    assert found is not None and found.signatures == (b"signature",)
    assert signed == [b"DSSEv1 28 application/vnd.in-toto+json 7 payload"]
    assert signature_of_file(make_file_bundle(b"payload", sign, "0" * 64)) == b"signature" and signed[1] == b"payload"
