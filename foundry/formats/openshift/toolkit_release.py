"""``/etc/driver-toolkit-release.json``: the kernels that a driver toolkit was made for.

openshift/driver-toolkit writes it from the kernel packages that the image has
(its Dockerfile); on aarch64, which has no real-time kernel, rpm's error text is
in its place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from foundry.base.errors import FoundryError
from foundry.base.files import parse_json
from foundry.base.names import is_kernel, kernel_arch
from foundry.base.plain_text import line
from foundry.base.reasons import Reason
from foundry.base.versions import is_real_time

PATH = "etc/driver-toolkit-release.json"

_SHOWN = 80  # characters of a text that is no kernel
_rhel_kernel = re.compile(r"\.el[0-9]+(?:_[0-9]+)?(?:[.+]|$)")
_rhel_version = re.compile(r"[0-9]+(?:\.[0-9]+)*")


@dataclass(frozen=True)
class ToolkitRelease:
    """Kernels as ``uname -r`` prints them, and the RHEL release (``9.4``); None where there is none."""

    kernel: str
    rt_kernel: str | None
    rhel: str | None
    # False: the kernel's name lacks its architecture, and the caller's was put there.
    names_arch: bool = field(default=True, compare=False)


def parse(data: bytes, arch: str) -> ToolkitRelease:
    """The document of a toolkit for `arch` (``x86_64``, ``aarch64``).

    Old builds leave the architecture out of their kernels' names; it is put there. A
    real-time kernel or RHEL release that is no such thing counts as none, the default kernel in its place, too.

    Raises FoundryError: ``toolkit-release-malformed``, ``toolkit-kernel-invalid``, ``toolkit-wrong-arch``.
    """
    try:
        document = parse_json(data)
    except ValueError as error:
        raise _malformed(f"it is no JSON ({str(error)[:200]})") from error
    if not isinstance(document, dict):
        raise _malformed("it is no JSON object")
    kernel = _text(document, "KERNEL_VERSION")
    if not kernel:
        raise _malformed("it has no KERNEL_VERSION")
    named = completed(kernel, arch)
    if not is_kernel(named):
        raise FoundryError(
            f"the toolkit's KERNEL_VERSION is {line(kernel, _SHOWN)!r}, which is no kernel",
            reason=Reason.TOOLKIT_KERNEL_INVALID,
            hint="the toolkit was built without a kernel: take that of another release",
        )
    rt_kernel, rhel = completed(_text(document, "RT_KERNEL_VERSION"), arch), _text(document, "RHEL_VERSION")
    for name in (named, rt_kernel) if is_kernel(rt_kernel) else (named,):
        if (other := kernel_arch(name)) not in ("", arch):
            raise FoundryError(
                f"the toolkit's kernel {name} is one for {other}, not for {arch}", reason=Reason.TOOLKIT_WRONG_ARCH,
                hint="check the architecture of the toolkit's image",
            )
    version = rhel if _rhel_version.fullmatch(rhel) else None
    has_rt = is_kernel(rt_kernel) and is_real_time(rt_kernel, named)
    return ToolkitRelease(named, rt_kernel if has_rt else None, version, bool(kernel_arch(kernel)))


def _text(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    return value.strip() if isinstance(value, str) else ""


def completed(kernel: str, arch: str) -> str:
    """A RHEL kernel's name with its architecture; it stands before a variant such as ``+rt``."""
    if not _rhel_kernel.search(kernel) or kernel_arch(kernel):
        return kernel
    name, plus, variant = kernel.partition("+")
    return f"{name}.{arch}{plus}{variant}"


def _malformed(why: str) -> FoundryError:
    return FoundryError(f"the toolkit's /{PATH} is malformed: {why}", reason=Reason.TOOLKIT_RELEASE_MALFORMED)
