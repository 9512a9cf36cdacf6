"""YAML files are read once: by content, never by name or time."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from foundry.base import yaml_files
from foundry.base.yaml_files import YamlCache


def test_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = YamlCache(tmp_path / "parsed.json")
    assert first.yaml(b"a: [1, x, 2.5, null, true]\n") == {"a": [1, "x", 2.5, None, True]}
    first.keep()
    monkeypatch.setitem(sys.modules, "yaml", None)  # now nothing can read YAML
    again = YamlCache(tmp_path / "parsed.json")
    assert again.yaml(b"a: [1, x, 2.5, null, true]\n") == {"a": [1, "x", 2.5, None, True]}
    with pytest.raises(ImportError):
        again.yaml(b"a: [1, x, 2.5, null, false]\n")


def test_faulty_texts_are_not_kept(tmp_path: Path) -> None:
    one = YamlCache(tmp_path / "parsed.json")
    for _ in range(2):
        with pytest.raises(ValueError, match="is not YAML"):
            one.yaml(b"a: [")
    one.keep()
    assert not one.kept.exists()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"0": 1}'])
def test_a_damaged_file_is_read_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "parsed.json").write_text(text)
    assert YamlCache(tmp_path / "parsed.json").yaml(b"b: 1") == {"b": 1}


def test_the_oldest_go(tmp_path: Path) -> None:
    one = YamlCache(tmp_path / "parsed.json")
    for number in range(yaml_files._KEPT + 5):
        one.yaml(f"n: {number}".encode())
    one.keep()
    assert len(YamlCache(one.kept)._known) == yaml_files._KEPT
