"""One enumeration of reasons: spelled once, used, explained, and known to what names them from outside."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter

from foundry.base.reasons import Reason
from foundry.formats.modules import gate
from foundry.toolkit import image
from tests.lint.test_lint import ROOT, tracked

ENUMERATION = "foundry/base/reasons.py"
SOURCES = [ROOT / name for name in tracked("foundry/*.py", "tasks/*.py") if name != ENUMERATION]
TREES = [ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES]


def test_a_member_is_named_as_it_is_spelled() -> None:
    assert [one.name for one in Reason] == [one.value.upper().replace("-", "_") for one in Reason]


def test_each_is_used() -> None:
    used = {
        node.attr for tree in TREES for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Reason"
    }
    assert used == {one.name for one in Reason}


def test_none_is_spelled_out() -> None:
    """Else mypy could not tell that it is one."""
    compound = {one.value for one in Reason if "-" in one.value}
    spelled = [
        (path.name, node.lineno, node.value) for path, tree in zip(SOURCES, TREES, strict=True)
        for node in ast.walk(tree) if isinstance(node, ast.Constant) and node.value in compound
    ]
    assert spelled == []


def test_each_is_explained_once() -> None:
    """The tables of docs/troubleshooting.md name every reason, and nothing else."""
    text = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    _, _, tables = text.partition("\n## Reasons\n")
    rows = re.findall(r"^\| (`.*?) \|", tables.partition("\n## ")[0], re.MULTILINE)
    explained = Counter(name for row in rows for name in re.findall(r"`([^`]+)`", row))
    assert explained == Counter(one.value for one in Reason)


def test_the_schema_of_failures_takes_each() -> None:
    schema = json.loads((ROOT / "schemas/failure.schema.json").read_text(encoding="utf-8"))
    form = schema["properties"]["reason"]
    assert all(re.search(form["pattern"], one) and len(one) <= form["maxLength"] for one in Reason)


def test_each_rule_of_the_gate_has_its_own() -> None:
    assert {rule: f"gate-{rule}" for rule in gate.RULES} == gate.RULES
    assert {one for one in Reason if one.startswith("gate-")} == set(gate.RULES.values())


def test_the_names_that_scripts_of_toolkits_give() -> None:
    scripts = [(ROOT / name).read_text(encoding="utf-8") for name in tracked("container/driver-toolkit/*.sh")]
    said = {name for text in scripts for name in re.findall(r"\bfail ([a-z-]+)", text)}
    assert said == set(image.SAID)
