"""The toolkit's own word on its kernels."""

from __future__ import annotations

import json
from typing import Any

import pytest

from foundry.base.errors import FoundryError
from foundry.base.names import KERNEL_LIMIT, is_kernel
from foundry.base.schema import SCHEMAS
from foundry.formats.openshift.toolkit_release import ToolkitRelease, parse
from tests.harness.checkout import ROOT

KERNEL, RT = "5.14.0-427.68.2.el9_4.x86_64", "5.14.0-427.68.2.el9_4.x86_64+rt"


def document(kernel: Any = KERNEL, rt: Any = RT, rhel: Any = "9.4") -> bytes:
    return json.dumps({"KERNEL_VERSION": kernel, "RT_KERNEL_VERSION": rt, "RHEL_VERSION": rhel}).encode()


def error(data: bytes, arch: str = "x86_64") -> FoundryError:
    with pytest.raises(FoundryError) as caught:
        parse(data, arch)
    assert caught.value.render().replace("\n", "").isprintable()
    return caught.value


def test_a_toolkit() -> None:
    assert parse(document(), "x86_64") == ToolkitRelease(KERNEL, RT, "9.4")
    assert parse(b'{"KERNEL_VERSION": " 6.1.0-56-cloud-amd64\\n"}', "x86_64") == (
        ToolkitRelease("6.1.0-56-cloud-amd64", None, None)
    )


@pytest.mark.parametrize(("kernel", "arch", "named"), [
    ("4.18.0-305.el8", "x86_64", "4.18.0-305.el8.x86_64"),
    ("5.14.0-427.68.2.el9_4", "aarch64", "5.14.0-427.68.2.el9_4.aarch64"),
    ("4.18.0-305.rt7.72.el8", "x86_64", "4.18.0-305.rt7.72.el8.x86_64"),
    ("6.12.0-55.el10_0", "x86_64", "6.12.0-55.el10_0.x86_64"),
    ("5.14.0-427.el9_4+rt", "x86_64", "5.14.0-427.el9_4.x86_64+rt"),
    ("5.14.0-427.el9_4.aarch64+64k", "aarch64", "5.14.0-427.el9_4.aarch64+64k"),
    (KERNEL, "x86_64", KERNEL), ("6.1.0-56-cloud-arm64", "aarch64", "6.1.0-56-cloud-arm64"),
    ("6.12.117+deb12-cloud-amd64", "x86_64", "6.12.117+deb12-cloud-amd64"), ("6.1.0-custom", "x86_64", "6.1.0-custom"),
    ("5.14.0-elated", "x86_64", "5.14.0-elated"),
])
def test_old_builds_lack_the_architecture(kernel: str, arch: str, named: str) -> None:
    assert parse(document(kernel, ""), arch) == ToolkitRelease(named, None, "9.4")


@pytest.mark.parametrize(("rt", "named"), [
    (RT, RT), ("5.14.0-427.68.2.el9_4+rt", RT), (f"{RT}-debug", f"{RT}-debug"),
    ("5.14.0-284.11.1.rt14.296.el9_2", "5.14.0-284.11.1.rt14.296.el9_2.x86_64"),
    ("4.18.0-305.19.1.rt7.91.el8_4.x86_64", "4.18.0-305.19.1.rt7.91.el8_4.x86_64"),
    ("6.1.0-56-rt-amd64", "6.1.0-56-rt-amd64"),
])
def test_real_time_kernels_by_their_own_names(rt: str, named: str) -> None:
    assert parse(document(rt=rt), "x86_64").rt_kernel == named


@pytest.mark.parametrize("rt", [KERNEL, "5.14.0-427.68.2.el9_4", f" {KERNEL}\n", "5.14.0-427.70.1.el9_4.x86_64"])
def test_a_real_time_kernel_with_the_name_of_a_default_one_is_none(rt: str) -> None:
    """openshift/driver-toolkit#154: its nodes run …+rt, for which nothing would have been built."""
    assert parse(document(rt=rt), "x86_64") == ToolkitRelease(KERNEL, None, "9.4")


@pytest.mark.parametrize("rt", ["", None, "  ", 7, [], "package kernel-rt-core is not installed", "error", "x" * 5000,
                                "5..1", "5.14.0-1.el9_4.x86_64\nmore"])
def test_no_real_time_kernel(rt: Any) -> None:
    assert parse(document(rt=rt), "x86_64").rt_kernel is None


@pytest.mark.parametrize("rhel", ["", None, 9.4, "nine", "9.4\n9.5", "9."])
def test_no_rhel(rhel: Any) -> None:
    assert parse(document(rhel=rhel), "x86_64").rhel is None


@pytest.mark.parametrize("kernel", [
    "package kernel-core is not installed", "5", "5.", "v5.14", "5.14.0 1", "../5.14", "5.14..0", "5.14/x", "5.14\0",
    "5.14.0-" + "1" * KERNEL_LIMIT, "5.14.0-1.el9." + "1" * (KERNEL_LIMIT - 15), "\u0665.14", "5.14\x1b[31m",
    "5.14\u2028x", "5.14\u202e",
])
def test_what_is_no_kernel(kernel: str) -> None:
    caught = error(document(kernel))
    assert caught.reason == "toolkit-kernel-invalid"
    assert caught.hint
    assert len(caught.message) < 150


@pytest.mark.parametrize(("kernel", "arch"), [
    (KERNEL, "aarch64"), ("5.14.0-1.el9_4.aarch64", "x86_64"), ("5.14.0-1.el9_4.s390x", "x86_64"),
    ("5.14.0-1.el9_4.ppc64le+rt", "x86_64"), ("6.1.0-56-cloud-arm64", "x86_64"), ("6.1.0-56-amd64", "aarch64"),
])
def test_kernels_of_another_architecture(kernel: str, arch: str) -> None:
    caught = error(document(kernel), arch)
    assert caught.reason == "toolkit-wrong-arch"
    assert kernel in caught.message
    ours = {"x86_64": "6.1.0-amd64", "aarch64": "6.1.0-arm64"}[arch]
    assert error(document(ours, kernel), arch).reason == "toolkit-wrong-arch"


@pytest.mark.parametrize("data", [
    b"", b"no JSON", b"{", b"[]", b'"x"', b"null", b"{}", document(""), document("  "), document(None), document(5.14),
    document([KERNEL]), b"\xff\xfe", b"[" * 100_000, b'{"KERNEL_VERSION": "\\udc80"}', b'{"KERNEL_VERSION": NaN}',
])
def test_malformed(data: bytes) -> None:
    assert error(data).reason == "toolkit-release-malformed"


def test_the_catalogue_has_the_same_rule() -> None:
    """The pattern stands in a schema, too, which can't take it from the code."""
    import re

    text = (ROOT / SCHEMAS / "common.schema.json").read_text(encoding="utf-8")
    rule = re.compile(json.loads(text)["$defs"]["kernel"]["pattern"])
    for kernel in (KERNEL, RT, "5", "5.", "5.1", "v5.1", "5.1/x", "5.1 ", "5.1~rc1", "6.12.5+deb12-cloud-amd64", ""):
        assert is_kernel(kernel) == bool(rule.search(kernel))
    assert is_kernel("5.1".ljust(KERNEL_LIMIT, "0"))
    assert not is_kernel("5.1".ljust(KERNEL_LIMIT + 1, "0"))
    assert not is_kernel("5.1\n")
