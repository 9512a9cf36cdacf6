"""Which key must have signed: the fingerprint that the configuration pins."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from foundry.base.errors import ConfigError
from foundry.packages.signing import pinned_fingerprint

FINGERPRINT, OTHER = "A" * 40, "B" * 40
FILE = "config/drivers/thing.yaml"


def test_a_fingerprint_in_the_family_file(tmp_path: Path) -> None:
    assert pinned_fingerprint(tmp_path, {"fingerprint": FINGERPRINT}, FILE) == FINGERPRINT


def test_a_fingerprint_in_a_file_of_the_checkout(tmp_path: Path) -> None:
    """It goes before: a profile that makes its own key names the file beside what the family pins."""
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/thing").write_text(f"{OTHER}\n")
    both = {"fingerprint": FINGERPRINT, "fingerprint_file": "keys/thing"}
    assert pinned_fingerprint(tmp_path, both, FILE) == OTHER


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Not the other fingerprint: who names a file wants that one."""
    both = {"fingerprint": FINGERPRINT, "fingerprint_file": "keys/thing"}
    with pytest.raises(ConfigError) as caught:
        pinned_fingerprint(tmp_path, both, FILE, "$.packages[0].signing")
    [fault] = caught.value.faults
    assert (fault.file, fault.path) == (FILE, "$.packages[0].signing.fingerprint_file")
    assert fault.message == "keys/thing does not exist"


def test_a_pipe_in_its_place_pins_nothing(tmp_path: Path) -> None:
    """It is not waited for, and no key has an empty fingerprint."""
    os.mkfifo(tmp_path / "fingerprint")
    assert pinned_fingerprint(tmp_path, {"fingerprint_file": "fingerprint"}, FILE) == ""
