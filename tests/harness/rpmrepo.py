"""A package repository of kernels with the names that RHEL's have, made by rpmbuild and createrepo_c.

The kernels' build trees are a real one of Debian's whose release is another: what is compiled with them is really
compiled, and passes the gate for the kernel that the packages are named for.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests.harness.front import serving

TOOLS = ("make", "kmod", "binutils", "elfutils-libelf-devel", "kabi-dw", "openssl")
KERNEL_PACKAGES = ("kernel-core", "kernel-devel", "kernel-headers", "kernel-modules", "kernel-modules-extra",
                   "kernel-abi-stablelists")
RT_PACKAGES = ("kernel-rt-core", "kernel-rt-devel", "kernel-rt-modules", "kernel-rt-modules-extra")
_SPEC = """\
Name: {name}
Version: {version}
Release: {release}
Summary: {name} of the tests
License: GPL-2.0-only
BuildArch: {arch}
AutoReqProv: no
%global debug_package %{{nil}}
%global __os_install_post %{{nil}}
%global _build_id_links none
%global _binary_payload w1.gzdio
%description
{name} of the tests.
%install
mkdir -p %{{buildroot}}
cp -a {content}/. %{{buildroot}}/
%files
%defattr(-,root,root)
{files}
"""


@dataclass(frozen=True)
class Tree:
    """A kernel's build tree and what else its packages need; `kernel` is the one that it was made for."""

    folder: Path
    kernel: str
    modules: Path


@dataclass
class Repository:
    """Packages in a folder; `folder` is a repository once `index` was called."""

    folder: Path

    def __post_init__(self) -> None:
        (self.folder / "packages").mkdir(parents=True)

    def package(self, name: str, version: str, release: str, root: Path | None = None, arch: str = "x86_64") -> None:
        """A package with the content of a folder, or with one file of its own."""
        work = self.folder / ".work" / f"{name}-{version}-{release}"
        content = work / "content"
        if root is not None:
            shutil.copytree(root, content, symlinks=True)
        note = content / "usr/share/doc" / f"{name}-{version}-{release}"
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(f"{name}\n")
        files = [f"/{path.relative_to(content)}" for path in sorted(content.rglob("*"))
                 if path.is_symlink() or path.is_file()]
        spec = work / f"{name}.spec"
        spec.write_text(_SPEC.format(name=name, version=version, release=release, arch=arch, content=content,
                                     files="\n".join(f'"{file}"' for file in files)))
        subprocess.run(
            ["rpmbuild", "-bb", "--quiet", f"--define=_rpmdir {self.folder / 'packages'}", f"--define=_topdir {work}",
             f"--target={arch}", str(spec)],
            check=True, capture_output=True)

    def kernel(self, kernel: str, tree: Tree, compiler: str, *, rt: Sequence[str] = ()) -> None:
        """All packages of a kernel; `compiler` is what its configuration says of the one that compiled it.

        `rt` are real-time kernels that go with it, as `uname -r` prints them.
        """
        version, _, release = kernel.removesuffix(".x86_64").partition("-")
        for name in KERNEL_PACKAGES:
            root = self.folder / ".work" / f"{name}-{kernel}.root"
            root.mkdir(parents=True)
            if name == "kernel-core":
                _core(root, kernel, tree, compiler)
            if name == "kernel-devel":
                _devel(root, kernel, tree)
            arch = "noarch" if name == "kernel-abi-stablelists" else "x86_64"
            self.package(name, version, release, root, arch)
        for rt_kernel, name in itertools.product(rt, RT_PACKAGES):
            root = self.folder / ".work" / f"{name}-{rt_kernel}.root"
            (root / f"lib/modules/{rt_kernel}").mkdir(parents=True)
            (root / f"lib/modules/{rt_kernel}" / name).touch()
            version, _, release = rt_kernel.removesuffix("+rt").removesuffix(".x86_64").partition("-")
            self.package(name, version, release, root)

    def gcc(self, version: str, release: str, says: str) -> None:
        """A compiler that is Debian's own, and calls itself what Red Hat's does."""
        root = self.folder / ".work" / f"gcc-{version}-{release}.root"
        program = root / "usr/bin/gcc"
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\n[ "$*" != --version ] || {{ echo "{says}"; exit; }}\nexec gcc-12 "$@"\n')
        program.chmod(0o755)
        self.package("gcc", version, release, root)

    def index(self) -> None:
        shutil.rmtree(self.folder / ".work")
        subprocess.run(["createrepo_c", "--quiet", str(self.folder / "packages")], check=True, capture_output=True)

    @contextmanager
    def served(self) -> Iterator[str]:
        """The URL of the repository, on loopback."""
        folder = str(self.folder / "packages")

        class Handler(SimpleHTTPRequestHandler):
            def __init__(self, *args: Any) -> None:
                super().__init__(*args, directory=folder)

            def log_message(self, *_: object) -> None:
                return

        with serving(Handler) as port:
            yield f"http://127.0.0.1:{port}/"


def _core(root: Path, kernel: str, tree: Tree, compiler: str) -> None:
    modules = root / "lib/modules" / kernel
    modules.mkdir(parents=True)
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copy2(tree.modules / name, modules / name)
    (modules / "vmlinuz").write_bytes(b"kernel")
    (modules / "config").write_text(f'CONFIG_CC_IS_GCC=y\nCONFIG_CC_VERSION_TEXT="{compiler}"\n')


def _devel(root: Path, kernel: str, tree: Tree) -> None:
    build = root / "usr/src/kernels" / kernel
    shutil.copytree(tree.folder, build, symlinks=True)
    for path in sorted(build.rglob("*")):
        if path.is_symlink() and (target := os.readlink(path)).startswith("../../"):  # it lies one folder deeper now
            path.unlink()
            path.symlink_to(f"../{target}")
        elif path.is_file() and (data := path.read_bytes()).find(tree.kernel.encode()) >= 0:
            path.write_bytes(data.replace(tree.kernel.encode(), kernel.encode()))
    variables = build / ".kernelvariables"
    variables.write_text(variables.read_text().replace("gcc-12", "gcc"))
    link = root / "lib/modules" / kernel / "build"
    link.parent.mkdir(parents=True)
    link.symlink_to(f"/usr/src/kernels/{kernel}")


def recipe(url: str, base: str, **more: object) -> Mapping[str, object]:
    """What a test changes of the recipe `ubi`: the base, the repository, and tools that the repository has."""
    return {"base": base, "arguments": {"RELEASE": "", "REPOSITORIES": [f"test|{url}|none"], "TOOLS": [*TOOLS]}, **more}
