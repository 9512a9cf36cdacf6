"""Schemas in several files: what is read and hashed, and that a fault reads the same through a reference."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from foundry.base import schema
from foundry.base.files import read_file
from foundry.base.schema import SCHEMAS, ValidationCache, closure
from foundry.config.load import load_config
from foundry.config.profile import Profile
from tests.harness.checkout import CATALOGUE, LOCK, ROOT, Checkout

LOCAL = Profile("local", "test")
PACKAGE = LOCK["packages"]["2.22.2.0"]
CELL = {
    "schema": 1, "stage": "push", "inputs": {}, "outputs": {}, "driver": "2.22.2.0", "family": "neuron",
    "key": "a" * 64, "kernel": "5.14.0-427.68.2.el9_4.x86_64", "arch": "x86_64", "row": {},
}


def closed(*names: str) -> set[str]:
    return {f"{name}.schema.json" for name in names}


@pytest.mark.parametrize("schema, others", [
    ("times", ()), ("matrix", ("common",)), ("family", ("common",)), ("settings", ("family", "common")),
    ("defaults", ("settings", "family", "common")),
])
def test_the_files_that_a_schema_reaches(schema: str, others: tuple[str, ...]) -> None:
    files = closure(ROOT / SCHEMAS, schema)
    assert files[0][0] == f"{schema}.schema.json"
    assert {name for name, _ in files} == closed(schema, *others)
    assert len(files) == len(others) + 1


def test_a_change_of_a_part_makes_what_was_kept_void(checkout: Checkout) -> None:
    kept = checkout.root / "kept.json"
    first = ValidationCache(ROOT, kept)
    assert first.check("catalogue", CATALOGUE, b"content", "file") == []
    first.keep()
    checkout.edit("schemas/common.schema.json", '["x86_64", "aarch64"]', '["aarch64"]')
    assert ValidationCache(ROOT, kept).check("catalogue", "no catalogue", b"content", "file") == []  # it was kept
    changed = ValidationCache(checkout.root, kept).check("catalogue", CATALOGUE, b"content", "file")
    assert {fault.path for fault in changed} == {f"$[{number}].arch" for number in range(len(CATALOGUE))}


def test_each_file_is_read_once_and_only_if_it_is_reached(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Counter[str]()

    def counted(path: Path) -> bytes:
        read[path.name] += path.parent == checkout.root / SCHEMAS
        return read_file(path)

    monkeypatch.setattr(schema, "read_file", counted)
    load_config(checkout.root, LOCAL)
    assert {name: times for name, times in read.items() if times} == dict.fromkeys(closed(
        "defaults", "settings", "family", "common", "matrix", "catalogue", "lock", "toolkit-recipe"), 1)


def test_nothing_is_imported_for_what_was_kept(checkout: Checkout) -> None:
    program = (
        "import sys; from pathlib import Path; from foundry.config.load import load_config; "
        "from foundry.config.profile import Profile; load_config(Path(sys.argv[1]), Profile('local', 'test')); "
        "print(sorted({'jsonschema', 'referencing'} & sys.modules.keys()))"
    )
    said = [
        subprocess.run([sys.executable, "-c", program, str(checkout.root)], cwd=ROOT, env={"PYTHONPATH": str(ROOT)},
                       capture_output=True, text=True, check=True).stdout.strip()
        for _ in range(2)
    ]
    assert said == ["['jsonschema', 'referencing']", "[]"]


@pytest.mark.parametrize("schema, document, fault", [
    ("catalogue", [{**CATALOGUE[0], "kernel": "x"}], "file: $[0].kernel: 'x' is not a kernel as uname -r prints it"),
    ("catalogue", [{**CATALOGUE[0], "version": "4.18.1" + "0" * 99}], "file: $[0].version: "),
    ("lock", {**LOCK, "packages": {"1.0": {**PACKAGE, "href": "../x"}}},
     "file: $.packages.1.0.href: '../x' must not contain '..'"),
    ("lock", {**LOCK, "packages": {"1.0": {**PACKAGE, "build_time": 1.0}}},
     "file: $.packages.1.0.build_time: 1.0 is not of type 'integer'"),
    ("lock", {**LOCK, "packages": {"1.0": {**PACKAGE, "further": {"a": {**PACKAGE, "name": 1}}}}},
     "file: $.packages.1.0.further.a.name: 1 is not of type 'string'"),
    ("record-push", {**CELL, "rows": 1}, "file: $: Additional properties are not allowed ('rows' was unexpected)"),
    ("record-push", {**CELL, "stage": "pull"}, "file: $.stage: 'push' was expected"),
    ("record-push", {**CELL, "key": "x"}, "file: $.key: 'x' is not the form ^[0-9a-f]{64}$"),
    ("record-push", {**CELL, "outputs": {"a": {"size": 1}}}, "file: $.outputs.a: 'sha256' is a required property"),
    ("record-push", {name: CELL[name] for name in CELL if name != "driver"},
     "file: $: 'driver' is a required property"),
])
def test_a_fault_says_the_same_through_a_reference(
    schema: str, document: object, fault: str, tmp_path: Path
) -> None:
    """One fault, with the sentence that the part itself has."""
    [found] = ValidationCache(ROOT, tmp_path / "kept.json").faults(schema, document, "file")
    assert found.render().startswith(fault)


@pytest.mark.parametrize("schema", sorted(path.name.split(".")[0] for path in (ROOT / SCHEMAS).glob("*.json")))
def test_no_schema_lets_an_unknown_field_pass(schema: str, tmp_path: Path) -> None:
    if schema == "common":  # no document has this form: it holds parts alone
        assert json.loads((ROOT / SCHEMAS / "common.schema.json").read_bytes()).keys() == {"$schema", "title", "$defs"}
        return
    whole = json.loads((ROOT / SCHEMAS / f"{schema}.schema.json").read_bytes())
    document = [{"nowhere": 1}] if whole.get("type") == "array" else {"nowhere": 1}
    found = ValidationCache(ROOT, tmp_path / "kept.json").faults(schema, document, "file")
    assert "Additional properties are not allowed ('nowhere' was unexpected)" in [fault.message for fault in found]
