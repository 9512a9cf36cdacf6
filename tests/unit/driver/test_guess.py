"""What is guessed of a package that no family describes: its address for every version, its family, its licence."""

from __future__ import annotations

from pathlib import Path

import pytest

from foundry.driver.guess import address_pattern, family_name, licence_files, licence_of
from tests.harness.checkout import ROOT


@pytest.mark.parametrize("url, driver, pattern", [
    ("file:///p/hello-1.0.tar.xz", "1.0", "file:///p/hello-{driver}.tar.xz"),
    ("https://x/1.0/hello_1.0-2_all.deb", "1.0-2", "https://x/1.0/hello_{driver}_all.deb"),
    ("https://x/1.0/hello_1.0_all.deb", "1.0", "https://x/{driver}/hello_{driver}_all.deb"),
    ("https://x/archive/refs/tags/v1.2.tar.gz", "1.2", "https://x/archive/refs/tags/v{driver}.tar.gz"),
    ("https://x/hello-1.2%2Bgit1.tar", "1.2+git1", "https://x/hello-{driver}.tar"),
    ("https://x1.0.example/hello.rpm?v=1.0", "1.0", "https://x1.0.example/hello.rpm?v=1.0"),
    ("file:///p/hello-11.0.tar", "1.0", "file:///p/hello-11.0.tar"), ("file:///p/hello-1.0.1.tar", "1.0", None),
])
def test_the_address_of_every_version(url: str, driver: str, pattern: str | None) -> None:
    assert address_pattern(url, driver) == (pattern or url)


@pytest.mark.parametrize("package, name", [
    ("acpi-call-dkms", "acpi-call"), ("dkms-Hello_World", "hello-world"), ("kmod-x", "x"), ("hello", "hello"),
    ("9p", "9p"),
])
def test_the_familys_name(package: str, name: str) -> None:
    assert family_name(package) == name


@pytest.mark.parametrize("files, license_", [
    ({"a.c": "// SPDX-License-Identifier: GPL-2.0-only\nint a;\n", "b.h": "/* SPDX-License-Identifier: MIT */\n",
      "c.c": "// SPDX-License-Identifier: GPL-2.0-only\n"}, "GPL-2.0-only"),
    ({"a.c": "/* SPDX-License-Identifier: (GPL-2.0 OR MIT) */\n"}, "GPL-2.0 OR MIT"),
    ({"a.c": 'MODULE_LICENSE("GPL v2");\n'}, "GPL-2.0-only"),
    ({"a.c": 'MODULE_LICENSE ("Dual MIT/GPL");\n'}, "MIT OR GPL-2.0-only"),
    ({"a.c": 'MODULE_LICENSE("Proprietary");\n'}, ""), ({"a.txt": "SPDX-License-Identifier: MIT\n"}, ""), ({}, ""),
])
def test_the_licence(files: dict[str, str], license_: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    found, notes = licence_of(tmp_path)
    assert found == license_
    assert bool(notes) == bool(license_)


@pytest.mark.parametrize("license_, files", [
    ("GPL-2.0-or-later", ["GPL-2.0.txt"]), ("GPL-3.0+", ["GPL-3.0.txt"]), ("GPL-2.0 OR MIT", ["GPL-2.0.txt"]),
    ("GPL-2.0-only OR GPL-3.0-only", ["GPL-2.0.txt", "GPL-3.0.txt"]), ("BSD-3-Clause", []), ("LGPL-2.0", []),
])
def test_the_texts_of_a_licence(license_: str, files: list[str]) -> None:
    assert licence_files(ROOT, license_) == [f"container/licenses/{name}" for name in files]
