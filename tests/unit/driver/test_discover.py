"""Where the sources are in an unpacked package."""

from __future__ import annotations

from pathlib import Path

import pytest

from foundry.base.errors import FoundryError
from foundry.config.family import Family
from foundry.driver.discover import source_place

PATTERN = "usr/src/aws-neuron*-{driver}"


def place(root: Path, said: str, *folders: str) -> str:
    for folder in folders:
        (root / folder).mkdir(parents=True)
    return source_place(Family("neuron", {"source": {"root": said}}, (), "neuron.yaml"), "2.3.26.0", root)


@pytest.mark.parametrize("folder", ["usr/src/aws-neuron-2.3.26.0", "usr/src/aws-neuronx-2.3.26.0"])
def test_a_pattern_fits_packages_of_both_names(tmp_path: Path, folder: str) -> None:
    assert place(tmp_path, PATTERN, folder, "usr/src/aws-neuronx-2.3.26.1") == folder


def test_a_folder_that_is_there_is_no_pattern(tmp_path: Path) -> None:
    assert place(tmp_path, "src[1]", "src1", "src[1]") == "src[1]"


@pytest.mark.parametrize("folders, why", [
    (["usr/src/aws-neuron-1.0"], "has no folder usr/src/aws-neuron*-2.3.26.0"),
    (["usr/src/aws-neuron-2.3.26.0", "usr/src/aws-neuronx-2.3.26.0"], "has more than one folder usr/src/aws-neuron*"),
])
def test_a_pattern_fits_one_folder(tmp_path: Path, folders: list[str], why: str) -> None:
    with pytest.raises(FoundryError) as raised:
        place(tmp_path, PATTERN, *folders)
    assert (raised.value.reason, why in raised.value.message) == ("source-missing", True)
