"""The linters are tests: what they say fails the suite, and none may be missing."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def tracked(*patterns: str) -> list[str]:
    done = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.splitlines() if (ROOT / name).exists()]


def clean(*argv: str) -> None:
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff() -> None:
    clean(str(BIN / "ruff"), "check", ".")


def test_mypy() -> None:
    clean(str(BIN / "mypy"))


def test_shellcheck() -> None:
    scripts = [name for name in tracked() if _shell(ROOT / name)]
    assert scripts
    clean(str(BIN / "shellcheck"), *scripts)


def test_yamllint() -> None:
    files = tracked("*.yaml", "*.yml")
    assert files
    clean(str(BIN / "yamllint"), "--strict", *files)


def test_actionlint() -> None:
    """It finds shellcheck beside itself, for the steps."""
    clean(str(BIN / "actionlint"), f"-shellcheck={BIN / 'shellcheck'}", "-pyflakes=", *workflows())


def test_what_publishes_installs_no_linter() -> None:
    """Linters come from more hands; jobs with secrets run `make runtime` (docs/decisions/0006-libraries.md)."""
    named = re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert "doit" in named
    assert not [name for name in named if name.startswith(("actionlint", "zizmor", "ruff", "mypy", "pytest", "moto"))]
    for path in workflows():
        jobs = [job for job in re.split(r"(?m)^  (?=\w+:$)", (ROOT / path).read_text()) if "secrets." in job]
        assert not [job for job in jobs if re.search(r"run: make (?!runtime|boots)", job)], path


def test_zizmor() -> None:
    clean(str(BIN / "zizmor"), "--offline", "--no-config", "--persona=pedantic", "--quiet",
          ".github/dependabot.yml", *workflows())


def test_secrets() -> None:
    """Forms of known secrets; hashes are not guessed at, there are thousands."""
    guesses = ("HexHighEntropyString", "Base64HighEntropyString", "KeywordDetector")
    clean(str(BIN / "detect-secrets-hook"), *(f"--disable-plugin={name}" for name in guesses), *tracked())


def workflows() -> list[str]:
    found = tracked(".github/workflows/*")
    assert found
    return found


@pytest.mark.parametrize("name", workflows())
def test_actions_are_pinned(name: str) -> None:
    """By the hash of a commit, with the version in words."""
    used = [line.strip() for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if "uses:" in line]
    pinned = re.compile(r"(- )?uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v[0-9.]+")
    assert [line for line in used if not pinned.fullmatch(line)] == []


# The defaults of repositories' names are what users of the first driver have; the sandbox makes a stand-in for it.
VENDORS = re.compile(r"neuron|habana|gaudi|thinkpad|acpi.call", re.IGNORECASE)
MAY_NAME_VENDORS = {
    "foundry/registry/targets.py": 2, "foundry/sandbox/standin.py": 3, "foundry/sandbox/make.py": 3,
}


@pytest.mark.parametrize("name", tracked("foundry/*.py", "tasks/*.py", "dodo.py"))
def test_no_vendor_is_named_in_the_code(name: str) -> None:
    """Families are data: nothing but docstrings and comments names one."""
    nodes = list(ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))))
    docs = {ast.get_docstring(node, clean=False) for node in nodes
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))}
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    texts += [node.id for node in nodes if isinstance(node, ast.Name)]
    found = [one for one in texts if one not in docs and VENDORS.search(one)]
    assert len(found) <= MAY_NAME_VENDORS.get(name, 0), found


def test_front_door_is_small() -> None:
    assert len((ROOT / "dodo.py").read_text(encoding="utf-8").splitlines()) < 60


def _shell(path: Path) -> bool:
    if path.suffix not in ("", ".sh") or not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(32).startswith((b"#!/bin/sh", b"#!/usr/bin/env bash", b"#!/bin/bash"))
