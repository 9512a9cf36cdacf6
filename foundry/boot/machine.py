"""The virtual machine that kernels are booted in: QEMU, with KVM where that works, and with UEFI where keys matter.

A guest has no disk, no network and no hardware but a console. Its kernel trusts what stands in the firmware's `db`.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from foundry.base.errors import FoundryError, OutsideError
from foundry.base.files import pretty_json, read_file, read_json, scratch, write_atomic
from foundry.base.process import run
from foundry.base.reasons import Reason
from foundry.podman.emulation import host_arch

MEMORY = 1024  # MiB of a guest
KVM, TCG = "kvm", "tcg"
KVM_DEVICE = Path("/dev/kvm")
_KVM_SECONDS = 20.0  # where KVM works, a kernel without a root gives up after one or two
_ACCELERATOR = "accelerator.json"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_OWNER = "e07fa66c-14cf-5b51-adfb-6ed61704cb0a"  # of what stands in a guest's db: ours, and no other tool's
_OF_OTHERS = ("PK", "KEK", "db", "dbx", "SecureBootEnable")
_FIRMWARE_SECONDS = 120.0
_CONSOLES = {"x86_64": "ttyS0", "aarch64": "ttyAMA0"}
_probe_lock = threading.Lock()
_variables_made: dict[tuple[object, ...], bytes] = {}  # in this run: making them takes a tenth of a boot
# A guest's memory, and half of that for QEMU itself: as many at once as half of the machine has room for.
_beside = threading.BoundedSemaphore(max(1, int(
    os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 0.5 // (MEMORY * 1.5 * (1 << 20)))))


@dataclass(frozen=True)
class Firmware:
    """UEFI firmware of this machine's packages: its code, and the variables that it begins with."""

    code: Path
    variables: Path


# By architecture and whether it enforces Secure Boot: where Debian, Fedora and Arch have it.
_FIRMWARE: Mapping[tuple[str, bool], tuple[tuple[str, str], ...]] = {
    ("x86_64", False): (
        ("OVMF/OVMF_CODE_4M.fd", "OVMF/OVMF_VARS_4M.fd"), ("OVMF/OVMF_CODE.fd", "OVMF/OVMF_VARS.fd"),
        ("edk2/ovmf/OVMF_CODE.fd", "edk2/ovmf/OVMF_VARS.fd"), ("edk2/x64/OVMF_CODE.4m.fd", "edk2/x64/OVMF_VARS.4m.fd"),
    ),
    ("x86_64", True): (
        ("OVMF/OVMF_CODE_4M.secboot.fd", "OVMF/OVMF_VARS_4M.fd"), ("OVMF/OVMF_CODE.secboot.fd", "OVMF/OVMF_VARS.fd"),
        ("edk2/ovmf/OVMF_CODE.secboot.fd", "edk2/ovmf/OVMF_VARS.fd"),
        ("edk2/x64/OVMF_CODE.secboot.4m.fd", "edk2/x64/OVMF_VARS.4m.fd"),
    ),
    ("aarch64", False): (
        ("AAVMF/AAVMF_CODE.fd", "AAVMF/AAVMF_VARS.ms.fd"),  # AAVMF_VARS.fd is empty
        ("edk2/aarch64/QEMU_EFI-pflash.raw", "edk2/aarch64/vars-template-pflash.raw"),
    ),
    ("aarch64", True): (("AAVMF/AAVMF_CODE.ms.fd", "AAVMF/AAVMF_VARS.ms.fd"),),
}
_SHARE = Path("/usr/share")


@dataclass(frozen=True)
class Guest:
    """One boot: the kernel's image, the initramfs, what the kernel's command line has besides the console.

    `certificates` (DER) are those that the firmware's `db` has; none: no firmware. With `secure_boot` the firmware
    starts only a kernel that one of them signed.
    """

    arch: str
    kernel: Path
    initramfs: Path
    arguments: Sequence[str] = ()
    certificates: Sequence[bytes] = ()
    secure_boot: bool = False


def qemu(arch: str) -> str:
    """The program that runs guests of an architecture."""
    return f"qemu-system-{arch}"


def firmware_of(arch: str, *, secure_boot: bool, share: Path = _SHARE) -> Firmware | None:
    """The firmware that this machine has for guests of an architecture."""
    for code, variables in _FIRMWARE.get((arch, secure_boot), ()):
        if (share / code).is_file() and (share / variables).is_file():
            return Firmware(share / code, share / variables)
    return None


def lacking(arch: str, *, firmware: bool, secure_boot: bool) -> str:
    """What this machine lacks to boot such guests, in words; empty where it has all. Looks at files alone."""
    if shutil.which(qemu(arch)) is None:
        return f"{qemu(arch)} is not installed"
    if (firmware or secure_boot) and firmware_of(arch, secure_boot=secure_boot) is None:
        return f"there is no UEFI firmware for {arch}{' with Secure Boot' if secure_boot else ''}"
    if secure_boot and shutil.which("sbsign") is None:
        return "sbsign is not installed"
    return ""


def arguments(*, enforced: bool) -> list[str]:
    """The kernel's command line: the firmware's folder, as KMM sets it, and whether signatures are enforced."""
    return ["firmware_class.path=/opt/lib/firmware", *(["module.sig_enforce=1"] if enforced else [])]


def boot(guest: Guest, accelerator: str, work: Path, log: Path, *, timeout: float) -> bool:
    """Run the guest until it switches itself off; what its console says goes to the log. False when time was up.

    `work` takes temporary files. Raises OutsideError where a program or the firmware is missing, FoundryError
    ``boot-failed`` where QEMU does not start.
    """
    kernel = guest.kernel
    firmware: list[str] = []
    if guest.certificates or guest.secure_boot:
        kernel, certificates = _signed_kernel(guest, work, log) if guest.secure_boot else (kernel, guest.certificates)
        firmware = _firmware_arguments(guest, _variables(guest, certificates, work, log))
    command = [
        qemu(guest.arch), *_machine(guest, accelerator), *firmware, "-m", str(MEMORY), "-kernel", str(kernel),
        "-initrd", str(guest.initramfs), "-append", " ".join([*_command_line(guest.arch), *guest.arguments]),
    ]
    with _beside:
        try:
            run(command, log=log, timeout=timeout, reason=Reason.BOOT_FAILED, hint="read the log, or replay it",
                tidy=True)
        except FoundryError as error:
            if error.reason != Reason.TIMEOUT:
                raise
            return False
    return True


def accelerator(arch: str, kernel: Path, build: Path) -> tuple[str, str]:
    """How guests of an architecture run here, and why not with KVM; a boot of `kernel` finds that out.

    KVM may be there and hang: it is tried once after each start of this machine, and for no longer than it takes.
    """
    with _probe_lock:
        if (known := known_accelerator(arch, build)) is not None:
            return known
        found = _tried(arch, kernel, build)
        write_atomic(build / _ACCELERATOR, pretty_json({"boot": _this_boot(), **found}))
    return found["use"], found.get("why", "")


def known_accelerator(arch: str, build: Path) -> tuple[str, str] | None:
    """As `accelerator`, as far as it is known without a boot; None: KVM is there, and was not tried yet."""
    if arch != host_arch():
        return TCG, f"this machine is {host_arch()}"
    if not os.access(KVM_DEVICE, os.R_OK | os.W_OK):
        return TCG, f"{KVM_DEVICE} can't be opened" if KVM_DEVICE.exists() else f"there is no {KVM_DEVICE}"
    found = read_json(build / _ACCELERATOR)
    if not isinstance(found, dict) or found.get("boot") != _this_boot() or found.get("use") not in (KVM, TCG):
        return None
    return str(found["use"]), str(found.get("why", ""))


def _this_boot() -> str:
    return read_file(_BOOT_ID).decode().strip() if _BOOT_ID.exists() else ""


def _tried(arch: str, kernel: Path, build: Path) -> dict[str, str]:
    guest = Guest(arch, kernel, kernel)
    with scratch(build, "kvm") as work:
        empty, log = work / "none", work / "kvm.log"
        empty.write_bytes(b"")
        arguments = [qemu(arch), *_machine(guest, KVM), "-m", "256", "-kernel", str(kernel),
                     "-append", " ".join(_command_line(arch))]
        try:
            run(arguments, log=log, timeout=_KVM_SECONDS, tidy=True)
        except FoundryError as error:
            return {"use": TCG, "why": "it hangs" if error.reason == Reason.TIMEOUT else error.message}
        said = read_file(log)
    return {"use": KVM} if b"Linux version" in said else {"use": TCG, "why": "its guests say nothing"}


def _command_line(arch: str) -> list[str]:
    """Every message to the console; an oops ends the guest, as nothing after it is worth anything.

    Real-time kernels don't use the firmware, and so don't know its `db`, unless they are told to (the kernel's
    CONFIG_EFI_DISABLE_RUNTIME).
    """
    return [f"console={_CONSOLES[arch]}", "loglevel=7", "printk.devkmsg=on", "oops=panic", "panic=-1", "efi=runtime"]


def _machine(guest: Guest, accelerator: str) -> list[str]:
    kind = "virt" if guest.arch == "aarch64" else "q35,smm=on" if guest.secure_boot else "q35"
    processor = "host" if accelerator == KVM else "max,pauth-impdef=on" if guest.arch == "aarch64" else "max"
    sandbox = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
    return [
        "-machine", kind, "-accel", accelerator, "-cpu", processor, "-nodefaults", "-no-user-config", "-no-reboot",
        "-display", "none", "-serial", "stdio", *(("-sandbox", sandbox) if sys.platform == "linux" else ()),
    ]


def _firmware_arguments(guest: Guest, variables: Path) -> list[str]:
    found = _required(guest)
    code = str(found.code).replace(",", ",,")
    flash = "if=pflash,format=raw"
    secure = ("-global", "driver=cfi.pflash01,property=secure,value=on", "-global", "ICH9-LPC.disable_s3=1")
    return [
        *(secure if guest.secure_boot and guest.arch == "x86_64" else ()),
        "-drive", f"{flash},unit=0,readonly=on,file={code}",
        "-drive", f"{flash},unit=1,file={str(variables).replace(',', ',,')}",
    ]


def _required(guest: Guest) -> Firmware:
    found = firmware_of(guest.arch, secure_boot=guest.secure_boot)
    if found is None:
        raise OutsideError(lacking(guest.arch, firmware=True, secure_boot=guest.secure_boot),
                           reason=Reason.TOOL_MISSING, hint="run `doit doctor`: it names the package to install")
    return found


def _variables(guest: Guest, certificates: Sequence[bytes], work: Path, log: Path) -> Path:
    """The firmware's variables, with these certificates alone in `db`: some packages have those of others in theirs."""
    made = work / "variables.fd"
    wanted = (guest.arch, guest.secure_boot, *certificates)
    if wanted in _variables_made:
        write_atomic(made, _variables_made[wanted])
        return made
    arguments = [sys.executable, "-m", "virt.firmware.vars", f"--input={_required(guest).variables}",
                 f"--output={made}", *(f"--delete={name}" for name in _OF_OTHERS)]
    for number, certificate in enumerate(certificates):
        path = work / f"db-{number}.der"
        path.write_bytes(certificate)
        arguments += ["--add-db", _OWNER, str(path)]
        if guest.secure_boot and number == 0:
            arguments += ["--set-pk", _OWNER, str(path), "--add-kek", _OWNER, str(path), "--secure-boot"]
    run(arguments, log=log, timeout=_FIRMWARE_SECONDS, reason=Reason.BOOT_FAILED)
    if not guest.secure_boot:  # whose certificates are of the one boot
        _variables_made[wanted] = read_file(made)
    return made


def _signed_kernel(guest: Guest, work: Path, log: Path) -> tuple[Path, Sequence[bytes]]:
    """The kernel's image signed by a key that is made for this and thrown away; the certificates that `db` then has.

    The key that signs modules is not needed for it.
    """
    from foundry.signing.new import CERTIFICATE_FILE, DER_FILE, KEY_FILE, write_pair

    pair = work / "kernel"
    write_pair(pair, "kmod-foundry boot", years=1)
    made = work / "vmlinuz"
    run(["sbsign", f"--key={pair / KEY_FILE}", f"--cert={pair / CERTIFICATE_FILE}", f"--output={made}",
         str(guest.kernel)], log=log, timeout=_FIRMWARE_SECONDS, reason=Reason.BOOT_FAILED)
    return made, [read_file(pair / DER_FILE), *guest.certificates]
