"""Images that share layers are pulled and removed at the same time, in a real store that was cold: no pull fails."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from foundry.base.errors import FoundryError, OutsideError
from foundry.podman.emulation import host_arch
from foundry.podman.engine import Engine
from foundry.podman.store import LocalImages
from tests.harness.front import Asked, Front, forward, front, says
from tests.harness.registry import Pusher, tar_of
from tests.harness.store import cold_store

pytestmark = pytest.mark.podman
ROUNDS = 3
HOST, REPOSITORY = "registry.test", "toolkits"
_OWN = [tar_of({"kernel": bytes([number]) * (1 << 20)}) for number in range(3)]
_SHARED = [tar_of({f"usr/shared{number}": os.urandom(1 << 20) * 8}) for number in range(4)]


@pytest.fixture(scope="module")
def toolkits(upstream: str) -> list[str]:
    """Three images of five layers, of which they share four."""
    pusher = Pusher(upstream, REPOSITORY)
    images = [pusher.image([*_SHARED, own]) for own in _OWN]
    return [f"{HOST}/{REPOSITORY}@{one['digest']}" for one in images]


@pytest.fixture
def registry(upstream: str) -> Iterator[Front]:
    """What an image has of its own comes late: when podman has seen that the other layers are in its store."""
    def slow(handler: Asked) -> None:
        time.sleep(1)
        forward(handler, one, handler.body, {})

    with front(upstream) as one:
        for own in _OWN:
            one.always(f"/blobs/sha256:{hashlib.sha256(own).hexdigest()}", slow)
        yield one


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with cold_store(tmp_path / "store") as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield


def engine_of(folder: Path, registry: Front) -> Engine:
    return Engine(folder / "engine.json", {HOST: registry.address}, pauses=(0.1, 0.1))


def use_in_turn(images: LocalImages, toolkits: list[str], log: Path) -> None:
    """As the cells of one driver do: two at a time, each drops its toolkit when it is done with it."""
    def cell(toolkit: str) -> None:
        with images.used(toolkit, host_arch(), log):
            pass
        images.drop(toolkit)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(cell, toolkits))


@pytest.mark.usefixtures("store")
def test_toolkits_that_are_dropped_while_the_next_is_pulled(
    registry: Front, toolkits: list[str], tmp_path: Path
) -> None:
    images = LocalImages(engine_of(tmp_path, registry), tmp_path / "pulled.json")
    for number in range(ROUNDS):
        use_in_turn(images, [*toolkits[number % 3:], *toolkits[:number % 3]], tmp_path / "log")
    assert "tried again" not in (tmp_path / "log").read_text()
    for toolkit in images.pulled():
        images.drop(toolkit)
    assert images.pulled() == []
    assert not any(images.engine.has_image(toolkit) for toolkit in toolkits)


@pytest.mark.usefixtures("store")
def test_two_checkouts_with_one_store(registry: Front, toolkits: list[str], tmp_path: Path) -> None:
    """Two processes, as two checkouts are: neither removes anything while the other pulls."""
    program = (
        "import sys; from pathlib import Path; from tests.harness.front import Front;"
        "from tests.integration.test_store_at_once import *;"
        "folder = Path(sys.argv[1]); folder.mkdir();"
        "images = LocalImages(engine_of(folder, Front('', address=sys.argv[2])), folder / 'pulled.json');"
        "[use_in_turn(images, sys.argv[3:], folder / 'log') for _ in range(3)]"
    )
    engine_of(tmp_path, registry).settings()
    runs = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path / name), registry.address, *order],
                         stderr=subprocess.PIPE, text=True)
        for name, order in (("a", toolkits), ("b", toolkits[::-1]))
    ]
    for run in runs:
        said = run.communicate(timeout=300)[1]
        assert run.returncode == 0, said
    for name in "ab":
        assert "tried again" not in (tmp_path / name / "log").read_text()


@pytest.mark.usefixtures("store")
def test_an_image_that_is_built_on_stays_until_then(registry: Front, toolkits: list[str], tmp_path: Path) -> None:
    """A checkout does not remove a base on which another one builds; where the base is gone it is pulled again."""
    base = toolkits[0]

    def checkout(name: str) -> None:
        images = LocalImages(engine_of(tmp_path / name, registry), tmp_path / name / "pulled.json")
        for _ in range(ROUNDS):
            with images.used(base, host_arch(), tmp_path / "log"), images.kept(base, tmp_path / "log"):
                time.sleep(0.3)
                assert images.engine.has_image(base)
            images.drop(base)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(checkout, "abcd"))


@pytest.mark.usefixtures("store")
def test_checkouts_that_make_the_same_image(tmp_path: Path) -> None:
    """The store has it once: a checkout does not remove it while another one writes it."""
    context = tmp_path / "context"
    context.mkdir()
    (context / "Containerfile").write_text("FROM scratch\nCOPY Containerfile /\n")

    def checkout(name: str) -> None:
        engine = Engine(tmp_path / name / "engine.json")
        for number in range(8):
            with engine.alone_with("cell"), engine.temporary_image("cell") as image:
                engine.call("build", "--quiet", "--layers=false", "--identity-label=false", "--timestamp=1",
                            f"--tag={image}", str(context))
                engine.call("save", "--quiet", "--format=oci-archive", f"--output={tmp_path / name / str(number)}",
                            image)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(checkout, "abcd"))


@pytest.mark.usefixtures("store")
def test_a_removal_waits_for_a_pull_and_does_not_block(registry: Front, toolkits: list[str], tmp_path: Path) -> None:
    """The cell that is done goes on at once; its toolkit goes before the next pull."""
    images = LocalImages(engine_of(tmp_path, registry), tmp_path / "pulled.json")
    log = tmp_path / "log"
    with images.used(toolkits[0], host_arch(), log):
        pass
    pulling = threading.Event()
    go_on = threading.Event()

    def held(handler: object) -> None:
        pulling.set()
        assert go_on.wait(60)
        says(503)(handler)  # type: ignore[arg-type]  # reason: a fault is given what it answers

    registry.faults.append((toolkits[1].partition("@")[2], held))
    with ThreadPoolExecutor(1) as pool:
        pull = pool.submit(lambda: use_in_turn(images, [toolkits[1]], log))
        assert pulling.wait(60)
        images.drop(toolkits[0])
        assert images.engine.has_image(toolkits[0])
        go_on.set()
        pull.result(timeout=120)
    with images.used(toolkits[2], host_arch(), log):
        assert images.pulled() == [toolkits[2]]


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("failures, tries", [(1, 2), (2, 3), (3, 3)])
def test_a_pull_that_fails_is_tried_again(
    registry: Front, toolkits: list[str], tmp_path: Path, failures: int, tries: int
) -> None:
    """By reason of the network; a registry that refuses, or has it not, is asked once."""
    engine = engine_of(tmp_path, registry)
    digest = toolkits[0].partition("@")[2]
    registry.faults += [("/blobs/", says(404))] * failures
    if failures < 3:
        engine.pull(toolkits[0], log=tmp_path / "log")
        assert engine.has_image(toolkits[0])
    else:
        with pytest.raises(OutsideError):
            engine.pull(toolkits[0], log=tmp_path / "log")
    assert registry.count(digest) == tries


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("status, code", [(401, "UNAUTHORIZED"), (403, "DENIED"), (404, "MANIFEST_UNKNOWN")])
def test_a_pull_that_would_fail_again_is_not(
    registry: Front, toolkits: list[str], tmp_path: Path, status: int, code: str
) -> None:
    words = {"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}
    registry.always("/manifests/", says(status, json.dumps(words).encode(), **{"Content-Type": "application/json"}))
    with pytest.raises(FoundryError):
        engine_of(tmp_path, registry).pull(toolkits[0], log=tmp_path / "log")
    assert registry.count("/manifests/") == 1
