"""A disk budget for toolkits, on real images in a store of its own."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from foundry.base.errors import FoundryError
from foundry.podman.emulation import host_arch
from foundry.podman.engine import Engine
from foundry.podman.store import LocalImages
from tests.harness.clone import Clone, registry_port
from tests.harness.store import cold_store


def test_toolkits_stay_within_the_budget(
    services: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three threads need one each and one fits: each gets its own, and none is removed while it is in use."""
    catalogue = services.catalogue()
    toolkits = list(dict.fromkeys(entry["dtk"] for entry in catalogue))
    log = tmp_path / "log"
    with cold_store(tmp_path / "store") as store:
        for name, value in store.items():
            monkeypatch.setenv(name, value)
        address = f"127.0.0.1:{registry_port(services.services)}"
        engine = Engine(tmp_path / "engine.json", {"registry.sandbox.internal": address})
        images = LocalImages(engine, tmp_path / "pulled.json")
        with images.used(toolkits[0], host_arch(), log):
            size = engine.size_of(toolkits[0])
        assert size > 50 << 20
        budget = int(size * 1.5)
        images = LocalImages(engine, tmp_path / "pulled.json", budget=budget, expected=lambda _: size)
        most: list[int] = []

        def use(toolkit: str) -> None:
            with images.used(toolkit, host_arch(), log):
                time.sleep(0.3)
                most.append(len(present(engine, toolkits)))
                assert toolkit in present(engine, toolkits)

        threads = [threading.Thread(target=use, args=[toolkit]) for toolkit in (*toolkits[1:], toolkits[0])]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most == [1, 1, 1]
        small = LocalImages(engine, tmp_path / "pulled.json", budget=size // 2, expected=lambda _: size)
        for toolkit in toolkits:
            small.drop(toolkit)
        with pytest.raises(FoundryError) as caught, small.used(toolkits[1], host_arch(), log):
            pass
        assert caught.value.reason == "max-disk"
        assert present(engine, toolkits) == []


def present(engine: Engine, toolkits: list[str]) -> list[str]:
    return [toolkit for toolkit in toolkits if engine.has_image(toolkit)]
