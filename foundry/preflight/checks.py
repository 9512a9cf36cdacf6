"""What a machine must have: tools, a container that starts, space, a clock, access to registries.

`doit doctor` shows all of it; a run looks before it begins its work. Each check
is a function that returns its findings; adding one is adding a function.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from foundry.base.errors import FoundryError, OutsideError
from foundry.base.reasons import Reason
from foundry.base.references import Reference
from foundry.base.times import require_clock
from foundry.boot import machine
from foundry.podman.emulation import host_arch
from foundry.podman.engine import Engine
from foundry.podman.probe import MEMORY, PROCESSES
from foundry.registry.client import Registry

_MIN_FREE = 5 << 30  # bytes: a toolkit is 1-2 GB, and two are at work at once

BUILD_TOOLS = ("podman", "gpgv", "bash")  # bash judges the expressions in a package's dkms.conf
ARCHIVE_TOOLS = ("git", "gpgv")  # for `doit archive`, and for builds from an archive
# What the sandbox needs besides; the tests need more (container/sandbox/system-packages.sh).
SANDBOX_TOOLS = ("gpg", "rpmbuild", "createrepo_c", "docker-registry")
# Tool → package, by OS family; macOS has no package of what only the sandbox needs, which is Debian's.
_PACKAGES = {
    "bash": {"debian": "bash", "fedora": "bash", "macos": "bash"},
    "podman": {"debian": "podman", "fedora": "podman", "macos": "podman"},
    "git": {"debian": "git", "fedora": "git", "macos": "git"},
    "gpgv": {"debian": "gpgv", "fedora": "gnupg2", "macos": "gnupg"},
    "gpg": {"debian": "gpg", "fedora": "gnupg2", "macos": "gnupg"},
    "rpmbuild": {"debian": "rpm", "fedora": "rpm-build", "macos": "rpm"},
    "createrepo_c": {"debian": "createrepo-c", "fedora": "createrepo_c"},
    "qemu-system-x86_64": {"debian": "qemu-system-x86", "fedora": "qemu-system-x86", "macos": "qemu"},
    "qemu-system-aarch64": {"debian": "qemu-system-arm", "fedora": "qemu-system-aarch64", "macos": "qemu"},
    "firmware of x86_64": {"debian": "ovmf", "fedora": "edk2-ovmf"},
    "firmware of aarch64": {"debian": "qemu-efi-aarch64", "fedora": "edk2-aarch64"},
    "sbsign": {"debian": "sbsigntool", "fedora": "sbsigntools"},
    "docker-registry": {"debian": "docker-registry", "fedora": "docker-distribution"},
}
_INSTALL = {"debian": "apt-get install --no-install-recommends", "fedora": "dnf install", "macos": "brew install"}
_MACHINE = "podman machine init && podman machine start"  # the Linux that podman's containers run in on macOS
_REFUSALS = (Reason.REGISTRY_UNAUTHORIZED, Reason.REGISTRY_DENIED, Reason.CREDENTIALS_UNREADABLE, Reason.REGISTRY_AUTH)


@dataclass(frozen=True)
class Check:
    """One finding. `fix` is the command or sentence that mends it, `reason` why it fails; both are for bad ones."""

    name: str
    ok: bool
    detail: str
    fix: str = ""
    reason: Reason = Reason.TOOL_MISSING

    def error(self) -> OutsideError:
        """The finding as an error: before work starts it ends the run."""
        detail = f"{self.name} is {self.detail}" if self.reason == Reason.TOOL_MISSING else self.detail
        return OutsideError(detail, reason=self.reason, hint=self.fix or "run `doit doctor`")


def os_family(release: str, system: str = sys.platform) -> str:
    """``debian`` or ``fedora`` from the text of /etc/os-release (os-release(5)), ``macos``; empty for others."""
    if system == "darwin":
        return "macos"
    words = set()
    for line in release.splitlines():
        name, _, value = line.partition("=")
        if name in ("ID", "ID_LIKE"):
            words |= set(value.strip().strip('"').split())
    if words & {"debian", "ubuntu"}:
        return "debian"
    return "fedora" if words & {"fedora", "rhel", "centos"} else ""


def install_line(tool: str, family: str) -> str:
    """How a tool gets onto a machine of an OS family."""
    package = _PACKAGES[tool].get(family)
    if package is None:
        return f"install the package that has {tool}"
    return f"{_INSTALL[family]} {package}" + (f" && {_MACHINE}" if (tool, family) == ("podman", "macos") else "")


def _this_family() -> str:
    release = Path("/etc/os-release")
    return os_family(release.read_text(encoding="utf-8") if release.exists() else "")


def check_tools(names: Iterable[str]) -> list[Check]:
    """Programs that must be on the path."""
    family = _this_family()
    found = []
    for tool in names:
        path = shutil.which(tool)
        found.append(Check(tool, path is not None, path or "not installed",
                           "" if path else install_line(tool, family), Reason.TOOL_MISSING))
    return found


def check_container(engine: Engine, *, anew: bool) -> list[Check]:
    """A container that really starts, with the settings that this machine needs; tried again where `anew`."""
    if shutil.which("podman") is None:
        return []
    try:
        settings = engine.find_out_again() if anew else engine.settings()
        missing = [name for name in (MEMORY, PROCESSES) if name not in settings.limits]
        return [Check("container", True, f"starts with {settings.describe()}"), *([Check(
            "budgets", True, f"without cgroups that limit the {' and '.join(missing)} of a compile as a whole: what"
            " `compile_memory` and `compile_processes` say holds for each process and user alone",
        )] if missing else [])]
    except FoundryError as error:
        fix = f"{_MACHINE}; {error.hint}" if _this_family() == "macos" else error.hint
        return [Check("container", False, error.message, fix, error.reason)]


def check_arches(wanted: Iterable[str], not_here: Mapping[str, str]) -> list[Check]:
    """Architectures that are to be compiled for and are not the machine's own (`foundry.podman.emulation`)."""
    family = _this_family()
    install = f"{_INSTALL[family]} qemu-user-static" if family in ("debian", "fedora") else "install qemu-user-static"
    return [
        Check(f"arch {arch}", arch not in not_here, f"its cells: {not_here[arch]}" if arch in not_here else
              "containers for it run here", f"build them on a machine for {arch}, or here: {install}",
              Reason.ARCH_NOT_HERE)
        for arch in sorted(set(wanted))
    ]


def check_boots(arches: Iterable[str], build: Path, *, signed: bool, secure_boot: bool, required: bool) -> list[Check]:
    """What booting kernels needs here: QEMU, UEFI firmware where modules are signed, KVM, which nothing hangs on.

    `build` is the folder of kits. What is missing is a fault where proofs are `required`.
    """
    def found(name: str, tool: str, place: str | None) -> Check:
        fix = install_line(tool, _this_family())
        missing = "not installed" if required else f"not installed: such modules are not proven here ({fix})"
        return Check(name, bool(place) or not required, place or missing, "" if place else fix)

    lines = []
    for arch in sorted(set(arches)):
        lines.append(found(f"QEMU {arch}", machine.qemu(arch), shutil.which(machine.qemu(arch))))
        if signed or secure_boot:
            firmware = machine.firmware_of(arch, secure_boot=secure_boot)
            lines.append(found(f"UEFI {arch}", f"firmware of {arch}", str(firmware.code) if firmware else None))
    if secure_boot:
        lines.append(found("sbsign", "sbsign", shutil.which("sbsign")))
    known = machine.known_accelerator(host_arch(), build)
    use, why = known or (machine.KVM, "it is tried with the first boot")
    slower = ": kernels boot without it, which takes longer" if use == machine.TCG else ""
    return [*lines, Check("KVM", True, f"{machine.KVM_DEVICE} is used" if not why else f"{why}{slower}")]


def check_space(folder: Path) -> list[Check]:
    """Room for builds below the checkout."""
    free = shutil.disk_usage(folder).free
    detail = f"{free / (1 << 30):.1f} GiB free on the disk of the checkout"
    return [Check("space", free >= _MIN_FREE, detail, "" if free >= _MIN_FREE else "free at least 5 GiB",
                  Reason.NO_SPACE)]


def check_clock() -> list[Check]:
    """A clock that is not years behind: signatures and tokens have dates."""
    try:
        require_clock()
    except OutsideError as error:
        return [Check("clock", False, error.message, error.hint, error.reason)]
    return [Check("clock", True, time.strftime("it is %Y-%m-%d %H:%M UTC", time.gmtime()))]


def check_access(registry_of: Callable[[str], Registry], reads: Sequence[Reference]) -> list[Check]:
    """One image of each repository that is read: can it be read, and with whose credentials."""
    found = []
    for reference in {one.name: one for one in reads}.values():
        try:
            registry = registry_of(reference.host)
            credential = registry.credentials.find(reference.host, reference.repository)
            whose = f"credentials of {credential.source}" if credential else "no credentials"
            registry.manifest(reference.repository, reference.digest or reference.tag)
            detail = f"{reference.name} can be read ({whose}; looked in {_places(registry)})"
            found.append(Check("registry", True, detail))
        except FoundryError as error:
            found.append(Check("registry", False, error.message, error.hint, error.reason))
    return found


def check_refusal(registry_of: Callable[[str], Registry], repository: Reference) -> list[Check]:
    """Whether a repository of which no image is known yet can be read: an image that it can't have is asked for."""
    found = check_access(registry_of, [replace(repository, tag="", digest=f"sha256:{'0' * 64}")])
    if found[0].reason != Reason.IMAGE_MISSING:
        return found
    return [Check("registry", True, f"{repository.name} can be read")]


def refusals(checks: Iterable[Check]) -> list[Check]:
    """Those findings on access that every image of a repository would meet: credentials missing or refused."""
    return [check for check in checks if not check.ok and check.reason in _REFUSALS]


def _places(registry: Registry) -> str:
    return ", ".join(registry.credentials.places(registry.host))
