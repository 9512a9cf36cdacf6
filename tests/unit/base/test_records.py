"""Records: what a stage wrote is read; whatever is anything else counts as not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundry.base.records import parse_record, read_record, write_record
from tests.harness.fuzz import examples

FACTS: dict[str, Any] = {"key": "1" * 64, "inputs": {}, "outputs": {"neuron.ko": {"sha256": "2" * 64, "size": 3}}}


def written(folder: Path, stage: str = "module") -> bytes:
    write_record(folder / "record.json", stage, FACTS)
    return (folder / "record.json").read_bytes()


def test_what_a_stage_wrote_is_read(tmp_path: Path) -> None:
    content = written(tmp_path)
    record = read_record(tmp_path / "record.json", "module")
    assert record is not None
    assert {name: record[name] for name in FACTS} == FACTS
    assert json.loads(content) == record
    assert written(tmp_path) == content


@pytest.mark.parametrize("path, value", [
    (("key",), "3" * 64), (("key",), None), (("outputs",), []), (("inputs",), None), (("schema",), 2),
    (("outputs", "neuron.ko", "sha256"), None), (("outputs", "neuron.ko", "size"), "3"),
    (("outputs", "neuron.ko"), None), (("stage",), "image"), (("sha256",), "4" * 64), (("sha256",), None),
    (("more",), 1),
])
def test_a_record_in_which_something_is_lost_or_changed_is_not_there(
    tmp_path: Path, path: tuple[str, ...], value: object
) -> None:
    written(tmp_path)
    document = inner = json.loads((tmp_path / "record.json").read_bytes())
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    if value is None:
        del inner[path[-1]]
    text = json.dumps(document, indent=2, sort_keys=True)
    for made in (text, text + "\n", json.dumps(document)):
        assert parse_record(made.encode(), "module") is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"{\n", b"\0" * 100, b"x" * 1000])
def test_what_is_no_record_is_not_there(content: bytes) -> None:
    assert parse_record(content, "module") is None


def test_the_record_of_another_stage_is_not_there(tmp_path: Path) -> None:
    content = written(tmp_path, "image")
    assert parse_record(content, "module") is None
    assert parse_record(content, "image") is not None


@examples(300)
@given(data=st.data())
def test_any_other_bytes_are_not_there(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    content = written(tmp_path_factory.getbasetemp())
    at = data.draw(st.integers(0, len(content) - 1))
    size = data.draw(st.integers(0, 5))
    other = content[:at] + data.draw(st.binary(max_size=5)) + content[at + size:]
    assert (parse_record(other, "module") is not None) == (other == content)
