"""Custom toolkits, the pure parts: tags, templates, the compiler's words, the ledger, layouts."""

from __future__ import annotations

from pathlib import Path

import pytest

from foundry.base.errors import ConfigError
from foundry.base.names import kernel_arch, kernel_tag
from foundry.base.schema import ValidationCache
from foundry.config.load import load_config
from foundry.config.profile import Profile
from foundry.config.toolkit_recipes import ToolkitRecipe, recipe_faults
from foundry.formats.modules.compiler import match
from foundry.plan.toolkit_ledger import ToolkitLedger, parse_toolkit_ledger
from foundry.plan.toolkits import Toolkit, toolkit_of
from tests.harness.checkout import ROOT, Checkout

RHEL, STREAM = "5.14.0-427.68.2.el9_4.x86_64", "5.14.0-503.el9.aarch64"
DEBIAN = "6.12.5+deb12-cloud-amd64"


@pytest.mark.parametrize("kernel, arch, tag", [
    (RHEL, "x86_64", "5.14.0-427.68.2.el9_4"),
    (f"{RHEL}+rt", "x86_64", "5.14.0-427.68.2.el9_4_rt"),
    (STREAM, "aarch64", "5.14.0-503.el9"),
    (DEBIAN, "x86_64", "6.12.5_deb12-cloud"),
    ("6.1.0-9-cloud-arm64", "aarch64", "6.1.0-9-cloud"),
    ("5.14.0-427.68.2.el9_4", "", "5.14.0-427.68.2.el9_4"),
    ("5.14.0-1.el9.s390x", "s390x", "5.14.0-1.el9"),
])
def test_tags(kernel: str, arch: str, tag: str) -> None:
    assert (kernel_arch(kernel), kernel_tag(kernel)) == (arch, tag)


def recipe(**data: object) -> ToolkitRecipe:
    files = {"containerfile": "container/driver-toolkit/Containerfile.rpm", "script": "container/driver-toolkit/rpm.sh"}
    return ToolkitRecipe("test", {"kernels": ["*"], "base": "quay.io/x/y:{rhel_major}", "labels": {}, **files, **data})


def test_templates() -> None:
    one = recipe(base="quay.io/ubi{rhel_major}/ubi:{rhel}", arguments={"A": ["{arch}", "x"], "B": "{kernel}"},
                 rt_kernel="{kernel}+rt")
    kit = Toolkit(RHEL, "x86_64", one)
    assert (kit.base_name, kit.rt_kernel) == ("quay.io/ubi9/ubi:9.4", f"{RHEL}+rt")
    assert kit.arguments == {"A": "x86_64 x", "B": RHEL}
    assert Toolkit(STREAM, "aarch64", one).base_name == "quay.io/ubi9/ubi:9", "a kernel that names no minor"
    with pytest.raises(ConfigError, match=r"asks for \{rhel_major\}"):
        _ = Toolkit(DEBIAN, "x86_64", one).base_name
    assert [fault.message for fault in recipe_faults(recipe(labels={"name": "{nonsense}"}), ROOT)] == [
        "unknown field {nonsense}; known: arch, kernel, rhel, rhel_major, rhel_rt_kernel"]


@pytest.mark.parametrize("kernel, rt_kernel", [
    ("4.18.0-305.19.1.el8_4.x86_64", "4.18.0-305.19.1.rt*.el8_4.x86_64"),
    ("4.18.0-553.22.1.el8_10.x86_64", "4.18.0-553.22.1.rt*.el8_10.x86_64"),
    ("5.14.0-284.11.1.el9_2.x86_64", "5.14.0-284.11.1.rt*.el9_2.x86_64"),
    ("5.14.0-362.8.1.el9_3.x86_64", "5.14.0-362.8.1.el9_3.x86_64+rt"),
    (RHEL, f"{RHEL}+rt"), ("6.12.0-55.9.1.el10_0.x86_64", "6.12.0-55.9.1.el10_0.x86_64+rt"),
])
def test_the_recipe_for_rhel_asks_for_real_time_kernels_by_rhels_names(
    checkout: Checkout, kernel: str, rt_kernel: str,
) -> None:
    assert toolkit_of(load_config(checkout.root, Profile("local", "test")), kernel).rt_kernel == rt_kernel


@pytest.mark.parametrize("compiler, kernel, found", [
    ("gcc (GCC) 11.4.1 20230605 (Red Hat 11.4.1-2)", "gcc (GCC) 11.4.1 20230605 (Red Hat 11.4.1-2)", "exact"),
    ("gcc (GCC) 11.4.1 20231218 (Red Hat 11.4.1-3)", "gcc (GCC) 11.4.1 20230605 (Red Hat 11.4.1-2)", "version"),
    ("gcc (GCC) 11.5.0 20240719 (Red Hat 11.5.0-5)", "gcc (GCC) 11.4.1 20230605 (Red Hat 11.4.1-2)", "base"),
    ("gcc (GCC) 11.5.0", "", "base"), ("", "", "base"),
])
def test_how_near_a_compiler_is(compiler: str, kernel: str, found: str) -> None:
    assert match(compiler, kernel) == found


def row(kernel: str, published: str, digest: str = "a") -> dict[str, object]:
    return {"kernel": kernel, "arch": "x86_64", "recipe": "ubi", "key": "0" * 64, "key_inputs": {"base": "x"},
            "digest": f"sha256:{digest * 64}", "tag": "t", "registry": "r/x", "published": published}


def test_the_later_row_stays(tmp_path: Path) -> None:
    old, new = row(RHEL, "2026-01-01T00:00:00Z"), row(RHEL, "2026-02-01T00:00:00Z", "b")
    other = row(STREAM, "2026-01-01T00:00:00Z")
    mine, theirs = ToolkitLedger({RHEL: old}), ToolkitLedger({RHEL: new, STREAM: other})
    assert mine.merged(theirs).rows == theirs.merged(mine).rows == {RHEL: new, STREAM: other}
    validation = ValidationCache(ROOT, tmp_path / "validation.json")
    assert parse_toolkit_ledger(theirs.to_bytes(), "x", validation) == theirs


@pytest.mark.parametrize("content, words", [
    (b"{", "is not JSON"), (b"[]", "is not of type 'object'"), (b'{"schema": 2, "toolkits": []}', "is newer"),
    (b'{"schema": 1, "toolkits": [{}]}', "is a required property"),
])
def test_what_is_no_ledger(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_toolkit_ledger(content, "x", ValidationCache(ROOT, tmp_path / "validation.json"))


def test_a_kernel_twice(tmp_path: Path) -> None:
    ledger = ToolkitLedger({"a": row(RHEL, "2026"), "b": row(RHEL, "2027")})
    with pytest.raises(ConfigError, match="is there twice"):
        parse_toolkit_ledger(ledger.to_bytes(), "x", ValidationCache(ROOT, tmp_path / "validation.json"))
