"""podman's lists, which others of the same store change while it makes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from foundry.base.errors import FoundryError
from foundry.podman.engine import Engine
from foundry.podman.leftovers import _listed


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An engine whose podman says what is in the file `says`, and fails as often as the file `fails` has lines."""
    (tmp_path / "podman").write_text(
        f'#!/bin/sh\ncase "$*" in *ps*) ;; *) echo "{{}}"; exit 0 ;; esac\ncd "{tmp_path}"\n'
        'echo asked >>asked\nif [ -s fails ]; then head -n 1 fails >&2; sed -i 1d fails; exit 125; fi\ncat says\n')
    (tmp_path / "podman").chmod(0o755)
    (tmp_path / "says").write_text("[]")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("foundry.podman.leftovers._PAUSES", (0.0, 0.0, 0.0))
    made = Engine(tmp_path / "engine.json")
    made.call("version")
    return made


def asked(folder: Path) -> int:
    return len((folder / "asked").read_text().splitlines())


def test_what_vanishes_while_podman_looks(engine: Engine, tmp_path: Path) -> None:
    said = "Error: determining buildah container for container 6235: container not known\n"
    (tmp_path / "fails").write_text(said * 2)
    assert _listed(engine, "ps", "--all") == "[]"
    assert asked(tmp_path) == 3


def test_what_fails_for_another_reason_or_for_ever(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "fails").write_text("Error: cannot connect\n")
    with pytest.raises(FoundryError, match="cannot connect"):
        _listed(engine, "ps")
    assert asked(tmp_path) == 1
    (tmp_path / "fails").write_text("Error: container not known\n" * 9)
    with pytest.raises(FoundryError, match="not known"):
        _listed(engine, "ps")
    assert asked(tmp_path) == 5
