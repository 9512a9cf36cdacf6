"""The real source of the BusyBox in the sandbox's base, from Debian's archive."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from foundry.base.files import sha256_file
from foundry.release.busybox import fetch_busybox
from foundry.run.context import Foundry, open_foundry
from tests.harness.clone import Clone


@pytest.fixture
def clone(new_clone: Callable[[], Clone], monkeypatch: pytest.MonkeyPatch) -> Clone:
    made = new_clone()
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    return made


def test_debian_has_the_source_and_its_checksum(clone: Clone, tmp_path: Path) -> None:
    """Both are in the lock from the beginning: nothing is locked by a first download."""
    foundry = open_foundry(clone.root)
    lock = clone.build / "locks/neuron.json"
    before = lock.read_bytes()
    facts = json.loads(before)["base"]["busybox"]
    found = fetch_busybox(foundry, foundry.config.families["neuron"], tmp_path / "out", tmp_path / "log")
    assert found.url == facts["source"]
    assert facts["sha256"] == {found.url: found.sha256} == {found.url: sha256_file(found.path)}
    assert found.path.name.startswith(f"busybox-{facts['version']}.tar.")
    listing = subprocess.run(["tar", "-tf", str(found.path)], capture_output=True, text=True, check=True).stdout
    assert f"busybox-{facts['version']}/include/libbb.h" in listing.splitlines()
    assert lock.read_bytes() == before
    assert foundry.journal.warnings == []
    log = (tmp_path / "log").read_text()
    assert fetch_busybox(foundry, foundry.config.families["neuron"], tmp_path / "out", tmp_path / "log") == found
    assert (tmp_path / "log").read_text() == log, "nothing was asked"


def test_the_sandbox_keeps_what_was_locked(clone: Clone) -> None:
    """`sandbox:up` writes the base into the lock; a checksum that a release added to it stays."""
    lock = clone.build / "locks/neuron.json"
    document = json.loads(lock.read_text())
    facts = document["base"]["busybox"]
    whole = {**facts["sha256"], facts["source_backup"]: "1" * 64}
    facts["sha256"] = {facts["source_backup"]: "1" * 64, facts["source"]: "2" * 64, "https://other.invalid/": "3" * 64}
    lock.write_text(json.dumps(document))
    assert clone.doit("sandbox:up").code == 0
    assert json.loads(lock.read_text())["base"]["busybox"]["sha256"] == whole
    assert isinstance(open_foundry(clone.root), Foundry), "and it is a lock"
