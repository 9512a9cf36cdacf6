"""What a killed run left at podman is removed, whatever podman itself knows of it, and nothing of others."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from foundry.podman.engine import Engine
from foundry.podman.leftovers import remove_leftovers
from tests.harness.store import cold_store

pytestmark = pytest.mark.podman
_SECONDS = 60


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where podman's own database is; the store is cold."""
    with cold_store(tmp_path / "store") as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield tmp_path / "store/graph/libpod"


@pytest.fixture
def engine(store: Path, tmp_path: Path) -> Engine:
    found = Engine(tmp_path / "mine/engine.json")
    found.settings()
    return found


def until(ready: Callable[[], object]) -> None:
    deadline = time.monotonic() + _SECONDS
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def context(folder: Path) -> Path:
    """An image without content, but for links to the programs that are mounted into it."""
    folder.mkdir()
    for name in ("bin", "lib", "lib64"):
        (folder / name).symlink_to(f"usr/{name}")
    (folder / "Containerfile").write_text('FROM scratch\nCOPY . /\nRUN ["/usr/bin/sleep", "1234"]\n')
    return folder


def build(engine: Engine, folder: Path) -> None:
    """Kill podman in the middle of a step of a build."""
    argv = engine.command("build", "--quiet", "--layers=false", "--network=none", "--volume=/usr:/usr:ro",
                          f"--file={folder / 'Containerfile'}", str(folder))
    before = sleepers()
    process = subprocess.Popen(argv, env={**os.environ, **engine.environment()}, start_new_session=True)
    until(lambda: sleepers() - before)
    process.kill()
    process.wait()


def processes(program: str, word: str) -> set[int]:
    """Those of a program with a word in their command line."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_text(errors="replace").split("\0")
            if Path(words[0]).name == program and any(word in one for one in words):
                found.add(int(path.parent.name))
    return found


def sleepers() -> set[int]:
    """The processes of steps of these builds."""
    return processes("sleep", "1234")


def monitors(engine: Engine) -> set[int]:
    """Those that watch over its containers."""
    return processes("conmon", f"{engine.mark}-")


def containers() -> list[str]:
    """The names of all that are in the store, podman's and buildah's."""
    shown = subprocess.run(["podman", "ps", "--all", "--external", "--format=json"], capture_output=True, check=True)
    return sorted(name for one in json.loads(shown.stdout or b"[]") for name in one["Names"])


def mounts(store: Path) -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [line.split()[1] for line in lines if f" {store.parent}/overlay/" in line]


def test_a_build_that_was_killed_in_a_step(engine: Engine, store: Path, tmp_path: Path) -> None:
    """Its process, its working container with the mount, its files; what another checkout builds stays."""
    folder = context(tmp_path / "context")
    other = Engine(tmp_path / "other/engine.json")
    build(engine, folder)
    mine = sleepers()
    build(other, folder)
    assert (len(sleepers()), len(containers()), len(mounts(store))) == (2, 2, 2)
    remove_leftovers(engine)
    assert (len(sleepers()), len(containers()), len(mounts(store))) == (1, 1, 1)
    assert not mine & sleepers()
    assert not engine.temporary.exists()
    assert list(other.temporary.iterdir())
    remove_leftovers(other)
    assert (sleepers(), containers(), mounts(store)) == (set(), [], [])


def test_a_build_that_was_killed_before_it_marked_its_container(engine: Engine, store: Path, tmp_path: Path) -> None:
    """Whose it is nobody can say: it stays while a podman works in the same store, for it may be that one's."""
    folder = context(tmp_path / "context")
    other = Engine(tmp_path / "other/engine.json")
    build(other, folder)
    [half_made] = store.parent.glob("overlay-containers/*/userdata/buildah.json")
    half_made.unlink()
    with subprocess.Popen(["podman", "system", "service", "--time=0", f"unix://{tmp_path}/socket"]) as podman:
        until((tmp_path / "socket").exists)
        remove_leftovers(engine)
        assert len(containers()) == 1
        podman.terminate()
    remove_leftovers(other)  # ends its step
    assert (sleepers(), containers(), mounts(store)) == (set(), [], [])


def test_an_image_whose_build_was_killed_while_it_was_written(engine: Engine, store: Path, tmp_path: Path) -> None:
    """No podman can list the images any more."""
    folder = context(tmp_path / "context")
    (folder / "Containerfile").write_text("FROM scratch\nCOPY . /\n")
    for name in ("whole", "killed"):
        (folder / "name").write_text(name)
        engine.call("build", "--quiet", f"--tag=localhost/{name}", str(folder))
    file = store.parent / "overlay-images/images.json"
    listed = json.loads(file.read_text())
    [killed] = [one for one in listed if one["names"] == ["localhost/killed:latest"]]
    shutil.rmtree(file.parent / killed["id"])
    for name in set(killed) - {"id", "layer", "created"}:
        del killed[name]
    file.write_text(json.dumps(listed))
    assert engine.call("images", "--all", check=False).returncode != 0
    remove_leftovers(engine)
    assert engine.call("images", "--all", "--format={{.Repository}}").stdout.split() == ["localhost/whole"]


@pytest.mark.parametrize("known", ["nothing of it", "that it was created", "all"])
def test_a_container_whose_podman_was_killed_before_it_started(
    known: str, engine: Engine, store: Path, tmp_path: Path
) -> None:
    """conmon and the runtime's first process wait for a start that never comes, whatever podman's database says."""
    root = tmp_path / "root"
    for name in ("usr", "proc", "sys", "dev", "etc"):
        (root / name).mkdir(parents=True)
    saved = {"nothing of it": keep(store, "before")}
    with engine.container("test") as name:
        create = ["--network=none", "--volume=/usr:/usr:ro", "--rootfs", str(root), "/usr/bin/sleep", "1234"]
        engine.call("create", f"--name={name}", *create)
        saved["that it was created"] = keep(store, "created")
        engine.call("init", name)
        assert len(monitors(engine)) == 1
        if known in saved:
            shutil.copyfile(saved[known], store / "bolt_state.db")
        engine.call("create", "--name=somebodys", *create)
        remove_leftovers(engine)
        until(lambda: not monitors(engine))
        assert containers() == ["somebodys"]
    engine.call("rm", "somebodys")


def keep(store: Path, name: str) -> Path:
    return Path(shutil.copyfile(store / "bolt_state.db", store / name))


def test_a_container_that_only_the_store_knows(engine: Engine, store: Path, tmp_path: Path) -> None:
    """podman was killed after it had made the container's files, before it noted the container."""
    folder = context(tmp_path / "context")
    (folder / "Containerfile").write_text("FROM scratch\nCOPY . /\n")
    engine.call("build", "--quiet", "--tag=localhost/somebodys", str(folder))
    before = keep(store, "before")
    names = [f"{engine.mark}-1-0-x", "kmod-foundry-0000000000000000-1-0-x", "somebodys"]
    for name in names:
        engine.call("create", f"--name={name}", "localhost/somebodys", "/bin/true")
    shutil.copyfile(before, store / "bolt_state.db")
    assert containers() == sorted(names)
    remove_leftovers(engine)
    assert containers() == sorted(names[1:])
    assert engine.has_image("localhost/somebodys")


def test_files_of_an_image_that_was_saved(engine: Engine, tmp_path: Path) -> None:
    """podman has its temporary files where they are known as ours, not in everybody's folder."""
    folder = context(tmp_path / "context")
    (folder / "large").write_bytes(os.urandom(200 << 20))
    (folder / "Containerfile").write_text("FROM scratch\nCOPY . /\n")
    engine.call("build", "--quiet", "--tag=localhost/large", str(folder))
    argv = engine.command("save", "--quiet", "--format=oci-archive", f"--output={tmp_path / 'large.tar'}",
                          "localhost/large")
    saving = subprocess.Popen(argv, env={**os.environ, **engine.environment()})
    until(lambda: any(engine.temporary.iterdir()))
    saving.send_signal(signal.SIGKILL)
    saving.wait()
    assert list(engine.temporary.iterdir())
    remove_leftovers(engine)
    assert not engine.temporary.exists()
