"""What a build says of its own exports is read within bounds, however often it says it."""

from __future__ import annotations

from pathlib import Path

import pytest

from foundry.base.errors import FoundryError
from foundry.cell import output_checks
from foundry.cell.output_checks import require_listed, sibling_exports
from foundry.config.family import Family
from foundry.config.module import Module
from foundry.config.recipe import Recipe
from foundry.plan.cells import Cell
from tests.unit.formats.test_elf import module

LINE = "0x00000007\ta\tone\tEXPORT_SYMBOL\t\n"
TWO = Recipe((Module("one", "one.ko", ""), Module("two", "two.ko", "")))


def build(folder: Path, texts: list[str]) -> tuple[Path, Path]:
    """The folder of a build with so many ``Module.symvers``, and that of its modules; the first exports ``a``."""
    for number, text in enumerate(texts):
        (folder / f"build/{number}").mkdir(parents=True)
        (folder / f"build/{number}/Module.symvers").write_text(text)
    (folder / "out/modules").mkdir(parents=True)
    (folder / "out/modules/one.ko").write_bytes(module(defined=("__ksymtab_a",)))
    (folder / "out/modules/two.ko").write_bytes(module())
    return folder / "build", folder / "out/modules"


def test_what_the_modules_export_to_each_other(tmp_path: Path) -> None:
    said = sibling_exports(TWO, *build(tmp_path, [LINE, "0x00000008\tb\tone\tEXPORT_SYMBOL\t\n"]))
    assert {name: one.crc for name, one in said.items()} == {"a": 7}


@pytest.mark.parametrize("name", ["three.ko", "three.ko.xz", "a/three.ko.zst", "three.ko.gz"])
def test_modules_that_nobody_listed(name: str, tmp_path: Path) -> None:
    """Compressed ones, too; what is listed may be compressed."""
    work = tmp_path
    (work / "build/a").mkdir(parents=True)
    (work / "src").mkdir()
    cell = Cell("1.0", Family("thing", {}, ()), "6.1.0-1", "x86_64", (), "")
    for listed in ("one.ko", "two.ko.xz", "three.ko.txt"):
        (work / "build" / listed).touch()
    require_listed(TWO, cell, work)
    (work / "build" / name).touch()
    with pytest.raises(FoundryError, match=r"three.ko") as caught:
        require_listed(TWO, cell, work)
    assert caught.value.reason == "module-unlisted"


@pytest.mark.parametrize("texts", [[LINE * 400], [LINE * 90] * 6, [LINE] * 12], ids=["large", "several", "many"])
def test_all_of_it_has_an_end(texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 MiB took half a minute and 1 GB, for each file, and of files there may be half a million."""
    monkeypatch.setattr(output_checks, "_MAX_SYMVERS", 10_000)
    monkeypatch.setattr(output_checks, "_SYMVERS_COSTS", 1_000)
    with pytest.raises(FoundryError, match=r"Module.symvers with \d+ bytes, more than") as caught:
        sibling_exports(TWO, *build(tmp_path, texts))
    assert caught.value.reason == "output-unsafe"
