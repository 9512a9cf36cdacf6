"""A toolkit image from container/driver-toolkit/: the one code for the sandbox's toolkits and for those of users.

Three stages: the tools, which all toolkits of a base share; the kernel's packages and its compiler; the file that
says which kernel it is. What the labels say of the compiler is read in the second one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from foundry.base.errors import FoundryError, OutsideError
from foundry.base.files import open_file
from foundry.base.reasons import Reason
from foundry.base.times import utc
from foundry.formats.modules.compiler import match
from foundry.podman.engine import Engine

COMPILER_LABEL, KERNEL_COMPILER_LABEL, MATCH_LABEL = (
    f"driver-toolkit.compiler{part}" for part in ("", ".kernel", ".match"))
_NAMED = re.compile(r"^driver-toolkit: ([a-z-]+): (.*)$", re.MULTILINE)
# What is missing outside: a repository, a credential. Everything else is a fault of the recipe or of the kernel's name.
_OUTSIDE = (Reason.REPOSITORIES_UNREACHABLE, Reason.RHSM_REFUSED, Reason.RHSM_MISSING, Reason.KERNEL_MISSING)
SAID = {  # by the names that a script may give, what to do
    Reason.KERNEL_MISSING: "is it an old one? Name a package repository that has it in the recipe (config/toolkits/)",
    Reason.KERNEL_FOREIGN: "build it on a machine of its architecture",
    Reason.REPOSITORIES_UNREACHABLE: "check the network, the recipe's repositories and the subscription",
    Reason.RHSM_REFUSED: "check the organisation and the activation key, and what the subscription covers",
    Reason.RHSM_MISSING: "take a base image that has it",
    Reason.PACKAGES_MISSING: "read the log; correct the recipe's packages or repositories (config/toolkits/)",
}
# The compiler is the one that the kernel's build files name (Debian's: gcc-12), else gcc.
_LOOK = r"""
text=$(sed -n 's/^CONFIG_CC_VERSION_TEXT="\(.*\)"$/\1/p' "/lib/modules/$1/config")
own=${text%% *}
command -v "${own:-gcc}" > /dev/null 2>&1 || own=gcc
printf '%s\n' "$text"
"${own:-gcc}" --version | sed -n 1p
for folder in /lib/modules/${2:-none}; do [ ! -d "$folder" ] || echo "real-time ${folder##*/}"; done
"""


class Builder(Protocol):
    """Builds images under names of its own, in a store of its own."""

    @property
    def engine(self) -> Engine:
        """The podman that it builds with."""
        ...

    def build(
        self, name: str, recipe: Path, context: Path, *, log: Path, created: int,
        arguments: Mapping[str, str] | None = None, target: str = "", layers: bool = False,
        labels: Mapping[str, str] | None = None, secrets: Mapping[str, Path] | None = None,
    ) -> str:
        """``podman build``; returns the image's id."""
        ...


@dataclass(frozen=True)
class Order:
    """One toolkit to build. `base` is what podman calls the base; name and digest are for the labels.

    `rt_kernel` may be a shell's pattern; the toolkit has none where the package repositories have none.
    `created` is in seconds since 1970: the image's time, and its files'. `secrets` are files by name.
    """

    kernel: str
    rt_kernel: str
    containerfile: Path
    base: str
    base_name: str
    base_digest: str
    created: int
    arguments: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Built:
    """An image by its id, the compilers as they call themselves (`kernel_compiler` may be empty), and its labels."""

    image: str
    compiler: str
    kernel_compiler: str
    labels: Mapping[str, str]


def build_toolchain(builder: Builder, order: Order, name: str, log: Path) -> None:
    """Make the layers that all toolkits of a base share; the builds that follow find them in the local store.

    Raises FoundryError with the name that the recipe gives the fault, else ``toolkit-build-failed``.
    """
    _build(builder, order, name, log, target="toolchain")


def build_toolkit(builder: Builder, order: Order, name: str, log: Path) -> Built:
    """Build the toolkit under the name; errors as of `build_toolchain`."""
    kernel = _build(builder, order, f"{name}-kernel", log, target="kernel", kernel=True)
    kernel_compiler, compiler, rt_kernel = _look(builder.engine, kernel, order, log)
    labels = {
        **order.labels, "version": order.kernel, "kernel-version": order.kernel,
        **({"kernel-rt-version": rt_kernel} if rt_kernel else {}),
        "org.opencontainers.image.base.name": order.base_name,
        "org.opencontainers.image.base.digest": order.base_digest,
        "org.opencontainers.image.created": utc(order.created),
        COMPILER_LABEL: compiler, MATCH_LABEL: match(compiler, kernel_compiler),
        **({KERNEL_COMPILER_LABEL: kernel_compiler} if kernel_compiler else {}),
    }
    return Built(_build(builder, order, name, log, labels=labels, kernel=True), compiler, kernel_compiler, labels)


def _build(
    builder: Builder, order: Order, name: str, log: Path, *, target: str = "",
    labels: Mapping[str, str] | None = None, kernel: bool = False,
) -> str:
    arguments = {
        "BASE": order.base, **order.arguments,
        **({"KERNEL": order.kernel} if kernel else {}),
        **({"RT_KERNEL": order.rt_kernel} if kernel and order.rt_kernel else {}),
    }
    begin = log.stat().st_size if log.exists() else 0
    try:
        return builder.build(
            name, order.containerfile, order.containerfile.parent, log=log, created=order.created, target=target,
            arguments=arguments, layers=True, labels=labels, secrets=order.secrets,
        )
    except FoundryError as error:
        raise named_fault(error, log, begin) from error


def named_fault(error: FoundryError, log: Path, begin: int) -> FoundryError:
    """The error that the recipe's script gave a name to, which it says in the log; else the error itself."""
    if not log.exists() or error.reason != Reason.TOOLKIT_BUILD_FAILED:
        return error
    with open_file(log) as stream:
        stream.seek(begin)
        found = _NAMED.findall(stream.read().decode(errors="replace"))
    if not found:
        return error
    name, sentence = found[0]  # what else goes wrong follows from it
    reason = Reason(name) if name in SAID else Reason.TOOLKIT_BUILD_FAILED
    kind = OutsideError if reason in _OUTSIDE else FoundryError
    return kind(sentence.strip(), reason=reason, hint=SAID.get(reason, "read the log"), log=log)


def _look(engine: Engine, image: str, order: Order, log: Path) -> tuple[str, str, str]:
    """The kernel's compiler, the toolkit's, the real-time kernel that is there; in a container without network."""
    with engine.container(f"look {order.kernel}") as name:
        done = engine.call(
            "run", f"--name={name}", "--rm", "--pull=never", "--network=none", "--security-opt=label=disable",
            "--cap-drop=all", "--entrypoint=/bin/sh", image, "-c", _LOOK, "sh",
            order.kernel, order.rt_kernel, check=False,
        )
    lines = [*done.stdout.splitlines(), "", ""]
    if done.returncode != 0 or not lines[1].strip():
        raise FoundryError(f"the toolkit of {order.kernel} has no compiler", reason=Reason.TOOLKIT_UNUSABLE, log=log)
    rt_kernels = [rest for line in lines[2:] for mark, _, rest in [line.partition(" ")] if mark == "real-time"]
    return lines[0].strip(), lines[1].strip(), rt_kernels[-1] if rt_kernels else ""
