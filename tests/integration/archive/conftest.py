"""Three signed packages, a server that has them, and a checkout that archives them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.archives import Archivist, offer, packages
from tests.harness.rpmtools import Key, Server, serve


@pytest.fixture(scope="session")
def rpms(key: Key, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return packages(tmp_path_factory.mktemp("rpms"), key)


@pytest.fixture
def server(key: Key, rpms: list[Path], tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "www").mkdir()
    with serve(tmp_path / "www") as running:
        offer(running, key, rpms)
        yield running


@pytest.fixture
def clone(server: Server, key: Key, tmp_path: Path) -> Archivist:
    return Archivist(tmp_path / "one", f"{server.url}/", key)
