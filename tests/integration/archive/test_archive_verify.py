"""`doit archive:verify` finds any change: of a byte in the store, and of a byte with all ids made to fit again."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from foundry.archive.git import Git
from foundry.archive.verify import verify
from foundry.base.errors import FoundryError
from foundry.run.context import Foundry, open_foundry
from tests.harness.archives import NOTES, Archivist, git, offer, package, packages
from tests.harness.rpmtools import serve, signing_key

SEED = 20260
TIMES = 40  # of each kind of forgery


@dataclass(frozen=True)
class Object:
    """A commit taken apart: its tree by path (mode, content), parents, the rest of its head, its message."""

    tree: Mapping[str, tuple[str, bytes]]
    parents: tuple[str, ...]
    head: bytes
    message: bytes


class Forger:
    """Makes an archive again with one commit changed; all ids, tags and the branch fit."""

    def __init__(self, source: Path) -> None:
        self.source = source
        store = Git(source)
        self.order = git(source, "rev-list", "--topo-order", "--reverse", "main", "--tags").split()
        self.commits: dict[str, Object] = {}
        for oid in self.order:
            head, _, message = next(iter(store.objects([oid])))[1].partition(b"\n\n")
            lines = head.split(b"\n")
            parents = tuple(line[7:].decode() for line in lines if line.startswith(b"parent "))
            listing = store.listing(oid)
            blobs = store.objects([blob.oid for blob in listing.values()])
            data = dict(zip(listing, (one for _, one in blobs), strict=True))
            rest = b"\n".join(line for line in lines if not line.startswith((b"tree ", b"parent ")))
            tree = {path: (blob.mode, data[path]) for path, blob in listing.items()}
            self.commits[oid] = Object(tree, parents, rest, message)

    def forge(self, dest: Path, oid: str, changed: Object) -> None:
        shutil.rmtree(dest, ignore_errors=True)
        shutil.copytree(self.source, dest)
        (dest / "packed-refs").unlink(missing_ok=True)
        new: dict[str, str] = {}
        for one in self.order[self.order.index(oid):]:
            this = changed if one == oid else self.commits[one]
            if one != oid and not set(this.parents) & new.keys():
                continue
            tree = self._tree(dest, this.tree) if one == oid else git(dest, "rev-parse", f"{one}^{{tree}}")
            parents = b"".join(f"parent {new.get(parent, parent)}\n".encode() for parent in this.parents)
            raw = f"tree {tree}\n".encode() + parents + this.head + b"\n\n" + this.message
            new[one] = git(dest, "hash-object", "-t", "commit", "-w", "--stdin", "--literally", stdin=raw)
        for line in git(self.source, "for-each-ref", "--format=%(refname) %(objectname)").splitlines():
            name, target = line.split(" ")
            (dest / name).parent.mkdir(parents=True, exist_ok=True)
            (dest / name).write_text(f"{new.get(target, target)}\n")

    @staticmethod
    def _tree(dest: Path, tree: Mapping[str, tuple[str, bytes]]) -> str:
        index = {"GIT_INDEX_FILE": str(dest / "forged-index")}
        (dest / "forged-index").unlink(missing_ok=True)
        lines = []
        for path, (mode, data) in tree.items():
            blob = git(dest, "hash-object", "-w", "--stdin", stdin=data)
            lines.append(f"{mode} {blob}\t{path}\0".encode())
        git(dest, "update-index", "-z", "--index-info", stdin=b"".join(lines), env=index)
        found = git(dest, "write-tree", env=index)
        (dest / "forged-index").unlink()
        return found


@dataclass(frozen=True)
class Made:
    """An archive with four versions, one of them a backport, and two states of the documents."""

    clone: Archivist
    foundry: Foundry
    forger: Forger
    place: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("made")
    (folder / "www").mkdir()
    with signing_key() as key, serve(folder / "www") as server, pytest.MonkeyPatch.context() as patch:
        (server.folder / "notes.rst").write_text(NOTES, encoding="utf-8")
        offer(server, key, packages(folder / "rpms", key))
        clone = Archivist(folder / "clone", f"{server.url}/", key)
        clone.configure(**{"release-notes": f'{{url: "{server.url}/notes.rst", license: CC0-1.0}}'})
        clone.archived()
        (server.folder / "notes.rst").write_text(NOTES.replace("First", "The first"), encoding="utf-8")
        offer(server, key, [package(folder / "more", key, "1.9.5.0", 1_600_900_000)])
        clone.archived()
        clone.proven()
        forger = Forger(clone.git_dir.rename(folder / "good.git"))
        patch.setenv("KMOD_PROFILE", "local")
        foundry = open_foundry(clone.root)
        foundry.verbosity = 0
        yield Made(clone, foundry, forger, clone.git_dir)


def broken(made: Made) -> str:
    """What the proof finds wrong; empty when it finds nothing."""
    try:
        verify(made.foundry, made.foundry.config.families["neuron"])
    except FoundryError as error:
        assert error.reason in ("archive-broken", "git-failed"), error.render()
        return error.message
    return ""


def flipped(data: bytes, dice: random.Random) -> bytes:
    if not data:
        return b"x"
    at = dice.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << dice.randrange(8))]) + data[at + 1 :]


def test_the_forger_changes_nothing_else(made: Made) -> None:
    """A forgery of nothing is the archive itself: what the others are found by is the change."""
    for oid in made.forger.order:
        made.forger.forge(made.place, oid, made.forger.commits[oid])
        assert broken(made) == ""


@pytest.mark.parametrize("kind", ["content", "mode", "name", "message", "head", "dropped", "added", "parent"])
def test_a_forgery(made: Made, kind: str) -> None:
    dice = random.Random(f"{SEED} {kind}")
    for _ in range(TIMES if kind in ("content", "message", "head") else TIMES // 4):
        oid = dice.choice(made.forger.order)
        good = made.forger.commits[oid]
        path = dice.choice(sorted(good.tree))
        mode, data = good.tree[path]
        tree = dict(good.tree)
        if kind == "content":
            forged = replace(good, tree={**tree, path: (mode, flipped(data, dice))})
        elif kind == "mode":
            forged = replace(good, tree={**tree, path: ("100644" if mode == "100755" else "100755", data)})
        elif kind == "message":
            forged = replace(good, message=flipped(good.message, dice))
        elif kind == "head":
            forged = replace(good, head=flipped(good.head, dice))
        elif kind == "parent":
            forged = replace(good, parents=good.parents[1:] if good.parents else (made.forger.order[0],))
            if oid == made.forger.order[0]:
                continue
        else:
            del tree[path]
            more = {"name": {f"{path}x": (mode, data)}, "added": {path: (mode, data), "src/new.c": (mode, b"x")}}
            forged = replace(good, tree=tree | more.get(kind, {}))
        made.forger.forge(made.place, oid, forged)
        assert broken(made), (oid, path, kind)


def test_a_byte_of_the_store(made: Made) -> None:
    """Packs, their indices, and refs, as a disk that forgets would change them."""
    dice = random.Random(SEED)
    for _ in range(TIMES):
        shutil.rmtree(made.place, ignore_errors=True)
        shutil.copytree(made.forger.source, made.place)
        files = [path for path in made.place.rglob("*") if path.suffix in (".pack", ".idx") or (
            path.is_file() and "refs" in path.relative_to(made.place).parts[:1])]
        file = dice.choice(sorted(files))
        data = file.read_bytes()
        file.chmod(0o644)
        changed = flipped(data.rstrip(b"\n"), dice) + (b"\n" if data.endswith(b"\n") else b"")
        file.write_bytes(changed)
        found = broken(made)
        assert found or changed.lower() == data.lower(), file  # git reads ids in either case


def test_tags(made: Made) -> None:
    """One that is lost, one that was moved, one of somebody's, and a branch that goes back."""
    good = dict(line.split(" ") for line in git(
        made.forger.source, "for-each-ref", "--format=%(refname) %(objectname)").splitlines())
    tags = sorted(name for name in good if "tags" in name)
    for name, oid in (
        (tags[0], ""), (tags[0], good[tags[1]]), ("refs/tags/mine", good[tags[0]]), ("refs/heads/main", good[tags[0]]),
    ):
        shutil.rmtree(made.place, ignore_errors=True)
        shutil.copytree(made.forger.source, made.place)
        git(made.place, "update-ref", *(["-d", name] if not oid else [name, oid]))
        assert broken(made), name


def test_another_repository_than_the_branch_names(made: Made) -> None:
    oid = git(made.forger.source, "rev-parse", "1.9.0.0")
    good = made.forger.commits[oid]
    elsewhere = good.message.replace(f"repository: {made.clone.address}".encode(), b"repository: https://other.invalid/")
    assert elsewhere != good.message
    made.forger.forge(made.place, oid, replace(good, message=elsewhere))
    assert "names the repository 'https://other.invalid/'" in broken(made)


def test_said_in_one_sentence(made: Made) -> None:
    """Through the command line: exit code 1, the fault, no traceback."""
    oid = made.forger.order[0]
    good = made.forger.commits[oid]
    made.forger.forge(made.place, oid, replace(good, message=good.message.replace(b"Versions: 0", b"Versions: 9")))
    run = made.clone.doit("archive:verify:neuron")
    assert (run.code, run.connections) == (1, [])
    assert "Traceback" not in run.text
    assert "is not what it says" in run.out and "'Versions: 9'" in run.out, run.text
    shutil.rmtree(made.place)
    run = made.clone.doit("archive:verify")
    assert run.code == 1 and "there is no archive at" in run.out and "doit archive:neuron" in run.out
    assert subprocess.run(["git", "--version"], check=True).returncode == 0
