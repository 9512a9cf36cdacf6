"""What proofs and signatures need is looked for before any work, and doctor says it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from foundry.base.errors import OutsideError
from foundry.base.reasons import Reason
from foundry.boot import machine
from foundry.podman.emulation import host_arch
from foundry.preflight.checks import Check, check_boots
from foundry.preflight.needs import check_signing
from foundry.preflight.readiness import require
from foundry.run.context import Foundry, open_foundry
from foundry.signing.new import CERTIFICATE_FILE, KEY_FILE, write_pair
from tests.harness.checkout import OLD, Checkout

CELL = f"2.22.2.0-{OLD}"


@pytest.fixture
def project(checkout: Checkout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Checkout:
    """On a machine without any program."""
    monkeypatch.setenv("KMOD_PROFILE", "local")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")  # where only what a run needs besides tools is looked at
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    return checkout


def with_settings(project: Checkout, **settings: Any) -> Foundry:
    project.write("config/profiles/local.yaml", settings)
    return open_foundry(project.root)


def test_a_required_proof_without_qemu_ends_a_run_before_it_works(project: Checkout) -> None:
    foundry = with_settings(project, proof="required")
    with pytest.raises(OutsideError) as raised:
        require(foundry, [f"fetch:{CELL}", f"module:{CELL}", f"image:{CELL}", f"boot:{CELL}"])
    assert (raised.value.reason, raised.value.exit_code) == (Reason.TOOL_MISSING, 3)
    assert "qemu-system-x86_64 is not installed" in raised.value.message
    assert "doit doctor" in raised.value.hint


@pytest.mark.parametrize("proof, warned", [("wanted", True), ("off", False)])
def test_a_wanted_proof_that_can_not_be_had_is_a_warning(project: Checkout, proof: str, warned: bool,
                                                         capsys: pytest.CaptureFixture[str]) -> None:
    foundry = with_settings(project, proof=proof)
    require(foundry, [f"image:{CELL}"])
    said = "no kernel for x86_64 is booted here to prove its modules: qemu-system-x86_64 is not installed"
    assert (said in capsys.readouterr().err) == warned


def test_a_key_that_can_not_be_had_ends_a_run_before_it_works(project: Checkout) -> None:
    write_pair(project.root / "keys", "modules", years=1)
    certificate = f"keys/{CERTIFICATE_FILE}"
    foundry = with_settings(project, proof="off", signing={"key": "keys/gone.key", "certificate": certificate})
    require(foundry, [f"image:{CELL}"])
    with pytest.raises(OutsideError) as raised:
        require(foundry, [f"module:{CELL}", f"sign:{CELL}"])
    assert raised.value.reason == Reason.SIGNING_KEY_MISSING
    [check] = check_signing(foundry)
    assert (check.name, check.ok, check.reason) == ("signing key", False, Reason.SIGNING_KEY_MISSING)
    foundry = with_settings(project, proof="off", signing={"key": f"keys/{KEY_FILE}", "certificate": certificate})
    require(foundry, [f"module:{CELL}", f"sign:{CELL}"])
    [check] = check_signing(foundry)
    assert check.ok and "is that of 'modules', which is valid until" in check.detail
    assert check_signing(with_settings(project, proof="off")) == []


def boots(tmp_path: Path, *arches: str, signed: bool = False, secure_boot: bool = False, required: bool = True,
          ) -> dict[str, Check]:
    return {one.name: one for one in check_boots(arches, tmp_path, signed=signed, secure_boot=secure_boot,
                                                 required=required)}


def test_doctor_looks_for_what_the_profile_needs(project: Checkout, tmp_path: Path) -> None:
    """Firmware where modules are signed, sbsign for Secure Boot; each line with what installs it."""
    assert set(boots(tmp_path, "x86_64")) == {"QEMU x86_64", "KVM"}
    assert set(boots(tmp_path, "x86_64", "aarch64", signed=True)) == {
        "QEMU x86_64", "UEFI x86_64", "QEMU aarch64", "UEFI aarch64", "KVM"}
    found = boots(tmp_path, "x86_64", secure_boot=True)
    assert set(found) == {"QEMU x86_64", "UEFI x86_64", "sbsign", "KVM"}
    for name, word in (("QEMU x86_64", "qemu-system-x86"), ("sbsign", "sbsigntool")):
        assert not found[name].ok and word in found[name].fix, found[name]
        assert found[name].reason == Reason.TOOL_MISSING


def test_what_is_only_wanted_is_no_fault(project: Checkout, tmp_path: Path) -> None:
    found = boots(tmp_path, "x86_64", required=False)
    assert all(check.ok for check in found.values())
    assert "not proven here" in found["QEMU x86_64"].detail


def test_kvm_is_never_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "KVM_DEVICE", tmp_path / "kvm")
    check = boots(tmp_path, host_arch())["KVM"]
    assert check.ok and f"there is no {tmp_path}/kvm" in check.detail and "takes longer" in check.detail
    (tmp_path / "kvm").touch()
    assert boots(tmp_path, host_arch())["KVM"].detail == "it is tried with the first boot"
