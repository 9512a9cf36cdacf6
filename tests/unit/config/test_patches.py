"""Patches: which apply, and what happens when a text is not found as often as it should."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from foundry.base.errors import FoundryError
from foundry.config.patches import Edit, Patch, apply, applying

EL = "5.14.0-{}.x86_64"


def patch(drivers: str = "*", kernels: str = "*", rhel: str = "*", matches: int = 2) -> Patch:
    return Patch("p", "why", drivers, kernels, rhel, (Edit("a/b.c", "old()", "new()", matches),))


@pytest.mark.parametrize("one, driver, kernel, why", [
    (patch(), "1", EL.format("1.el9_4"), ""),
    (patch(drivers="<2.18.12.0"), "2.18.12.0", EL.format("1.el9_4"), "driver 2.18.12.0 is not <2.18.12.0"),
    (patch(rhel=">=9.6"), "1", EL.format("1.el9_6"), ""),
    (patch(rhel=">=9.6"), "1", EL.format("1.el10_0"), ""),
    (patch(rhel=">=9.6"), "1", EL.format("1.el9_4"), "RHEL 9.4 is not >=9.6"),
    (patch(rhel=">=9.6"), "1", EL.format("1.el8_10"), "RHEL 8.10 is not >=9.6"),
    (patch(rhel=">=9.0"), "1", "6.1.0-56-cloud-amd64", "6.1.0-56-cloud-amd64 is no RHEL kernel"),
    (patch(kernels=">=6.12"), "1", "6.12.117+deb12-cloud-amd64", ""),
    (patch(kernels=">=6.12"), "1", "6.1.0-56-cloud-amd64", "kernel 6.1.0 is not >=6.12"),
])
def test_inert_because(one: Patch, driver: str, kernel: str, why: str) -> None:
    assert one.inert_because(driver, kernel) == why
    assert bool(applying([one], driver, kernel)) is (not why)


def test_a_patch_as_the_family_file_has_it() -> None:
    edit = {"file": "a.c", "find": "x", "replace": "y", "matches": 3}
    ranges = {"drivers": "<2", "kernels": ">=6.1", "rhel": ">=9.4"}
    whole = Patch.from_config({"id": "p", "why": "w", **ranges, "edits": [edit]})
    assert (whole.drivers, whole.kernels, whole.rhel) == ("<2", ">=6.1", ">=9.4")
    assert whole.edits == (Edit("a.c", "x", "y", 3),)
    assert Patch.from_config(whole.as_data()) == whole, "a ledger keeps it so"
    bare = Patch.from_config({"id": "p", "why": "w", "edits": [edit]})
    assert (bare.drivers, bare.kernels, bare.rhel) == ("*", "*", "*")


def test_the_key_hangs_on_what_a_patch_does() -> None:
    """And on its name, which the image shows; not on its ranges, which may be widened without a build."""
    edit = Edit("a.c", "x", "y", 3)
    one = Patch("p", "why", "*", "*", "*", (edit,))
    assert one.as_key() == {"id": "p", "edits": [["a.c", "x", "y", 3]]}
    same = [replace(one, why="z"), replace(one, drivers="<2"), replace(one, kernels=">1"), replace(one, rhel=">1")]
    assert all(other.as_key() == one.as_key() for other in same)
    edits = [Edit("b.c", "x", "y", 3), Edit("a.c", "z", "y", 3), Edit("a.c", "x", "z", 3), Edit("a.c", "x", "y", 4)]
    others = [replace(one, id="q"), *(replace(one, edits=(changed,)) for changed in edits)]
    assert all(other.as_key() != one.as_key() for other in others)


def test_patches_apply_in_their_order() -> None:
    """A later one may change what an earlier one wrote."""
    ids = ["c", "a", "b"]
    patches = [*(replace(patch(), id=name) for name in ids), replace(patch(drivers=">9"), id="d")]
    assert [one.id for one in applying(patches, "1", EL.format("1.el9_4"))] == ids


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b.c").write_text("old(); old();\n")
    return tmp_path


def test_apply(tree: Path) -> None:
    assert apply(patch(), tree) == [{"patch": "p", "file": "a/b.c", "matches": 2}]
    assert (tree / "a/b.c").read_text() == "new(); new();\n"


@pytest.mark.parametrize("matches", [1, 3])
def test_wrong_number_of_matches(tree: Path, matches: int) -> None:
    with pytest.raises(FoundryError, match=f"2 times, expected {matches}") as raised:
        apply(patch(matches=matches), tree)
    assert raised.value.reason == "patch-mismatch"
    assert (tree / "a/b.c").read_text() == "old(); old();\n"


def test_missing_file_and_link(tree: Path) -> None:
    (tree / "a/b.c").rename(tree / "a/c.c")
    with pytest.raises(FoundryError, match="does not have"):
        apply(patch(), tree)
    (tree / "a/b.c").symlink_to("c.c")
    with pytest.raises(FoundryError, match="does not have"):
        apply(patch(), tree)


def test_nothing_is_written_through_a_linked_folder(tree: Path) -> None:
    (tree / "a").rename(tree.parent / "outside")
    (tree / "a").symlink_to("../outside")
    with pytest.raises(FoundryError, match="does not have"):
        apply(patch(), tree)
    assert (tree.parent / "outside/b.c").read_text() == "old(); old();\n"
