"""A small DKMS package of our own for tests: one or two modules that compile in a second, as a tar or a .deb."""

from __future__ import annotations

import hashlib
import io
import lzma
import tarfile
from collections.abc import Mapping
from pathlib import Path

from tests.harness.clone import Clone

DRIVER = "1.0"
CONF = """\
PACKAGE_NAME="hello"
PACKAGE_VERSION="1.0"
LAST_COMMIT=abc123
BUILT_MODULE_NAME[0]="hello_base"
DEST_MODULE_LOCATION[0]="/extra/hello"
BUILT_MODULE_NAME[1]="hello_top"
DEST_MODULE_LOCATION[1]="/updates"
POST_INSTALL=./post.sh
PRE_BUILD="./configure.sh $kernelver"
"""
_MODULE = """\
#include <linux/module.h>
%s
static int __init start(void) { %s return 0; }
static void __exit stop(void) { }
module_init(start);
module_exit(stop);
MODULE_LICENSE("GPL");
MODULE_INFO(commit, COMMIT);
"""
FILES: Mapping[str, str] = {
    "dkms.conf": CONF,
    "Makefile": "obj-m := hello_base.o hello_top.o\nccflags-y := -DCOMMIT='\"$(COMMIT)\"'\n",
    "configure.sh": "#!/bin/sh\necho \"#define BUILT_FOR \\\"$1\\\"\" > made.h\n",
    "hello_base.c": _MODULE % (
        '#include "made.h"\nMODULE_INFO(builtfor, BUILT_FOR);\n'
        "int hello_base(void); int hello_base(void) { return 1; } EXPORT_SYMBOL_GPL(hello_base);", ""),
    "hello_top.c": _MODULE % ("int hello_base(void);", "hello_base();"),
    "post.sh": "#!/bin/sh\nuseradd hello\n",
}
FAMILY = """\
title: Hello driver
download:
  url: file://{folder}/hello-{{driver}}.tar.xz
  license: GPL-2.0
signature: none
sha256: {{"1.0": "{sha256}"}}
source: {{dkms: true}}
variables:
  commit: {{file: dkms.conf, pattern: "^LAST_COMMIT=(\\\\w+)"}}
make: {{arguments: ["COMMIT={{commit}}"]}}
labels: {{hello-commit: "{{commit}}"}}
"""


def write_package(folder: Path, changes: Mapping[str, str] | None = None) -> str:
    """``hello-1.0.tar.xz`` in `folder`; its SHA-256. `changes` are files by name, empty ones are left out."""
    files = {name: text for name, text in {**FILES, **(changes or {})}.items() if text}
    data = lzma.compress(tar({f"hello-1.0/{name}": text.encode() for name, text in files.items()}))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "hello-1.0.tar.xz").write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def add_family(clone: Clone, folder: Path, changes: Mapping[str, str] | None = None) -> str:
    """Write the package and its family file into a clone, with the sandbox's base; the package's SHA-256."""
    sha256 = write_package(folder, changes)
    clone.write("config/drivers/hello.yaml", FAMILY.format(folder=folder, sha256=sha256))
    clone.write("build-matrix.json", [{"driver": DRIVER, "family": "hello", "ocp_versions": ["4.16.30"]}])
    clone.copy_lock("neuron", "hello")
    return sha256


def tar(files: Mapping[str, bytes]) -> bytes:
    """An archive of files."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(data), 1_700_000_000, 0o755 if data.startswith(b"#!") else 0o644
            archive.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def deb(name: str, version: str, files: Mapping[str, bytes]) -> bytes:
    """A Debian package."""
    control = f"Package: {name}\nVersion: {version}\nArchitecture: all\n".encode()
    members = {"debian-binary": b"2.0\n", "control.tar.xz": lzma.compress(tar({"./control": control})),
               "data.tar.xz": lzma.compress(tar(files))}
    parts = [b"!<arch>\n"]
    for member, data in members.items():
        parts.append(f"{member:<16}{1_600_000_000:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode())
        parts.append(data + b"\n" * (len(data) % 2))
    return b"".join(parts)
