"""What notes say of cells that were not built: why, and nothing of the machine that tried."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from foundry.plan.keys import key_of as plan_key_of
from foundry.plan.ledger import Ledger
from foundry.plan.rows import row_from
from foundry.release.bundle import bundle
from foundry.release.notes import checksums, current, facts_of, notes
from foundry.run.context import Foundry, open_foundry
from foundry.signing.new import CERTIFICATE_FILE, DER_FILE, KEY_FILE, write_pair
from tests.harness.checkout import NEW, OLD, Checkout
from tests.harness.ledgers import key_inputs, ledger_document, ledger_row

DRIVER = "2.22.2.0"
ONE = f"{DRIVER}-{OLD}"


@pytest.fixture
def project(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    monkeypatch.setenv("KMOD_PROFILE", "local")
    return checkout


def key_of(foundry: Foundry, name: str) -> str:
    key = foundry.states.cells[name].key
    assert key is not None
    return key.key


def failed(project: Checkout, message: str, reason: str = "compile-failed", **more: Any) -> Foundry:
    key = key_of(open_foundry(project.root), ONE)
    project.write(f"build/local/cells/{ONE}/failure.json",
                  {"key": key, "reason": reason, "message": message, "hint": "", **more})
    return open_foundry(project.root)


def whys(foundry: Foundry) -> list[str]:
    return [one.why for one in facts_of(foundry, Ledger(DRIVER, "neuron")).unbuilt]


@pytest.mark.parametrize("message, shown", [
    ("/home/me/kmod/build/local/work/neuron_cdev.c:10: error: no", "neuron_cdev.c:10: error: no"),
    ("does not compile (/root/x/a.c), see '/var/tmp/b-1+2@3/c.log'", "does not compile (a.c), see 'c.log'"),
    ("a.c:1: error: x\nlog: /home/me/build.log", "a.c:1: error: x"),
    (f"{ONE} does not compile", "does not compile"),
    (f"of {ONE} nothing is left", f"of {ONE} nothing is left"),
    ("arch/x86/include/asm/io.h:3: error: 'x' undeclared", "arch/x86/include/asm/io.h:3: error: 'x' undeclared"),
    ("../include/a.h is not there", "../include/a.h is not there"),
    ("its address https://host.test/a/b/c.tar is /home/me/c", "its address https://host.test/a/b/c.tar is c"),
    ("", ""),
])
def test_why_a_cell_was_not_built(project: Checkout, message: str, shown: str) -> None:
    """Notes are public: a folder of this machine, such as a user's, is nobody's business."""
    assert whys(failed(project, message)) == [shown]


@pytest.mark.parametrize("reason", [
    "gate-vermagic", "patch-mismatch", "toolkit-without-kernel", "source-missing", "module-unlisted",
])
def test_faults_of_the_build_are_told(project: Checkout, reason: str) -> None:
    assert whys(failed(project, "no", reason)) == ["no"]


@pytest.mark.parametrize("reason, more", [
    ("http-timeout", {}), ("disk", {}), ("no-space", {}), ("compile-failed", {"retry": True}),
])
def test_faults_of_the_moment_are_not(project: Checkout, reason: str, more: dict[str, Any]) -> None:
    """They say nothing about whether a driver builds for a kernel."""
    assert whys(failed(project, "no", reason, **more)) == []


@pytest.mark.parametrize("reason", ["does-not-load", "does-not-unload", "kernel-does-not-boot", "no-kernel-image"])
def test_what_its_kernel_does_not_load_is_told_as_that(project: Checkout, reason: str) -> None:
    """In the kernel's own words; it is no fault of the build."""
    foundry = failed(project, f"{ONE} does not load: neuron: neuron: Unknown symbol x (err -2)", reason, stage="boot")
    facts = facts_of(foundry, Ledger(DRIVER, "neuron"))
    assert [one.why for one in facts.unproven] == ["does not load: neuron: neuron: Unknown symbol x (err -2)"]
    assert facts.unbuilt == ()


@pytest.mark.parametrize("reason, more", [
    ("tool-missing", {}), ("boot-failed", {}), ("does-not-load", {"retry": True}),
])
def test_a_machine_that_can_not_boot_says_nothing_of_a_module(
    project: Checkout, reason: str, more: dict[str, Any],
) -> None:
    foundry = failed(project, "no", reason, stage="boot", **more)
    assert facts_of(foundry, Ledger(DRIVER, "neuron")).unproven == ()


def published_unproven(project: Checkout) -> Ledger:
    """A cell that was published before proofs were required."""
    project.publishes("kmod")
    project.edit("config/profiles/local.yaml", '{"image_repository"', '{"proof": "required", "image_repository"')
    inputs = key_inputs(project.root, ONE)
    project.write(f"build/local/release/{DRIVER}/images.json", ledger_document(ledger_row(
        OLD, key=plan_key_of(inputs), key_inputs=inputs, registries=["registry.test/kmod"])))
    ledger = open_foundry(project.root).states.ledger(DRIVER)
    assert ledger is not None
    return ledger


def test_an_image_whose_kernel_refuses_it_now_is_told_and_not_listed(project: Checkout) -> None:
    ledger = published_unproven(project)
    assert facts_of(open_foundry(project.root), ledger).unproven == ()
    foundry = failed(project, f"{ONE} does not load: no", "does-not-load", stage="boot")
    [one] = facts_of(foundry, ledger).unproven
    assert (one.why, one.withdrawn) == ("does not load: no", ledger.rows[OLD, "x86_64"].digest)
    bundle(foundry, DRIVER)
    assert not (project.root / f"build/local/release/{DRIVER}/kmm").exists(), "no cluster shall load it"
    notes(foundry, DRIVER)
    text = (project.root / f"build/local/release/{DRIVER}/notes.md").read_text(encoding="utf-8")
    assert "None yet." in text and "`does not load: no`; the image `sha256:" in text


def signs(project: Checkout) -> str:
    """Have the profile sign; the certificate's SHA-256."""
    write_pair(project.root / "keys", "modules", years=1)
    project.write("config/profiles/local.yaml", {"signing": {
        "key": f"keys/{KEY_FILE}", "certificate": f"keys/{CERTIFICATE_FILE}"}})
    return hashlib.sha256((project.root / "keys" / DER_FILE).read_bytes()).hexdigest()


def test_the_certificate_lies_beside_the_release(project: Checkout) -> None:
    """As long as an image is signed with its key, with its checksum; else what an earlier run left goes."""
    fingerprint = signs(project)
    folder = project.root / f"build/local/release/{DRIVER}"
    signature = {"signer": "modules", "certificate": fingerprint, "hash": "sha256"}
    project.write(f"build/local/release/{DRIVER}/images.json", ledger_document(ledger_row(OLD, signature=signature)))
    notes(open_foundry(project.root), DRIVER)
    assert (folder / "module-signing.der").read_bytes() == (project.root / "keys" / DER_FILE).read_bytes()
    assert f"{fingerprint}  module-signing.der" in (folder / "SHA256SUMS").read_text(encoding="utf-8")
    told = "`module-signing.der` here and `/licenses/module-signing.der` in the images, its SHA-256"
    assert f"{told} `{fingerprint}`" in (folder / "notes.md").read_text(encoding="utf-8")
    (folder / "module-signing.der").write_bytes(b"damaged")
    assert not current(open_foundry(project.root), DRIVER)
    other = {**signature, "certificate": "d" * 64}
    project.write(f"build/local/release/{DRIVER}/images.json", ledger_document(ledger_row(OLD, signature=other)))
    notes(open_foundry(project.root), DRIVER)
    assert not (folder / "module-signing.der").exists()
    assert "module-signing.der  " not in (folder / "SHA256SUMS").read_text(encoding="utf-8")


def test_what_is_published_all_the_same_is_said(project: Checkout) -> None:
    foundry = failed(project, "no")
    row = row_from(ledger_row(OLD))
    ledgers = [Ledger(DRIVER, "neuron", rows) for rows in ({}, {(OLD, "x86_64"): row}, {(NEW, "x86_64"): row})]
    assert [facts_of(foundry, one).unbuilt[0].published for one in ledgers] == [False, True, False]


def test_the_releases_of_the_matrix_and_those_that_an_image_also_serves(project: Checkout) -> None:
    """An image that the matrix wants for other releases, or for none, is listed in the same way."""
    project.write("build-matrix.json", [{"driver": DRIVER, "ocp_versions": ["4.18.15"]}])
    project.write(f"build/local/release/{DRIVER}/images.json", ledger_document(
        ledger_row(OLD, releases=["4.16.30", "4.17.9"]), ledger_row(NEW, releases=["4.18.15", "4.19.3"])))
    notes(open_foundry(project.root), DRIVER)
    text = (project.root / f"build/local/release/{DRIVER}/notes.md").read_text(encoding="utf-8")
    listed = [line for line in text.splitlines() if "compatible with" in line or "also serves" in line]
    assert listed == [
        f"- `{DRIVER}-{OLD}` (compatible with OCP: none)",
        "  - also serves 4.16.30, 4.16.48, 4.17.9, which the matrix does not name",
        f"- `{DRIVER}-{NEW}` (compatible with OCP: 4.18.15)",
        "  - also serves 4.18.16, 4.19.3, which the matrix does not name",
    ]
    assert [line for line in text.splitlines() if line.startswith("| 4.")] == [
        line for line in text.splitlines() if line.startswith("| 4.18.15 ")], "by release: those of the matrix"
    assert "2 images for 2 kernels of 1 release" in text
    project.write("build-matrix.json", [{"driver": DRIVER, "ocp_versions": ["4.18"]}])
    assert not current(open_foundry(project.root), DRIVER), "another matrix, other notes"


def test_nothing_of_this_machine_is_in_the_files(project: Checkout) -> None:
    failed(project, f"{project.root}/build/local/work/a.c:10: error: no")
    project.write(f"build/local/release/{DRIVER}/images.json", ledger_document())
    foundry = open_foundry(project.root)
    notes(foundry, DRIVER)
    folder = Path(project.root, "build/local/release", DRIVER)
    texts = {name: (folder / name).read_text(encoding="utf-8") for name in ("notes.md", "SHA256SUMS", "notes.json")}
    assert "a.c:10: error: no" in texts["notes.md"]
    assert not any(str(project.root) in text for text in texts.values())
    assert json.loads(texts["notes.json"])["driver"] == DRIVER
    assert current(open_foundry(project.root), DRIVER)
    (project.root / f"build/local/cells/{ONE}/failure.json").unlink()
    assert not current(open_foundry(project.root), DRIVER), "the cell is no longer one that does not build"


def test_checksums_are_those_of_sha256sum() -> None:
    """Of each asset a line, sorted by name."""
    one = Ledger(DRIVER, "neuron", {}, {}, {"b.tar.gz": {"sha256": "2" * 64}})
    lines = checksums(one, {"images.json": b"", "images.md": b"tables"}).decode().splitlines()
    assert [line.split("  ")[1] for line in lines] == ["b.tar.gz", "images.json", "images.md"]
    assert lines[0] == f"{'2' * 64}  b.tar.gz"
