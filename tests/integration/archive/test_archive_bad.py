"""What can go wrong with `doit archive`: one sentence each, nothing lost, no half commit; mended, it goes on."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.harness import rpmtools
from tests.harness.archives import FAMILY, VERSIONS, Archivist, fails, git, offer, package
from tests.harness.disk import small_disk
from tests.harness.rpmtools import Key, Server, body, signing_key, status
from tests.harness.rpmwriter import FOLDER, File
from tests.harness.vendor import DRIVER, PACKAGE, publish
from tests.integration.test_bad_package import EVIL, ROOT, crafted

OFTEN = 20
PAST = "--faked-system-time=20200101T000000"
FIRST = 1_600_000_000


def whole(clone: Archivist) -> None:
    """All three versions are there in the end, and everything is proven."""
    clone.archived()
    assert sorted(clone.tags()) == sorted(VERSIONS)
    clone.proven()


def test_a_package_that_vanished(clone: Archivist, server: Server, rpms: list[Path]) -> None:
    """What is older stays; the next run goes on there."""
    (server.folder / rpms[1].name).rename(server.folder / "away")
    fails(clone, clone.doit("archive"), 3, rpms[1].name, "404", hint="check the address")
    tags = clone.tags()
    assert list(tags) == [VERSIONS[0]]
    (server.folder / "away").rename(server.folder / rpms[1].name)
    server.hits.clear()
    whole(clone)
    assert clone.tags().items() >= tags.items()
    assert server.count(rpms[0].name) == 0, "what is there is not fetched again"


def test_a_package_that_was_signed_anew_meanwhile(
    clone: Archivist, server: Server, key: Key, rpms: list[Path], tmp_path: Path
) -> None:
    """The list is read again, and archived as it is now; without a new list it is an error."""
    again = tmp_path / rpms[1].name
    shutil.copyfile(rpms[1], again)
    rpmtools.command("rpmsign", "--delsign", again)
    rpmtools.sign_rpm(again, key, "--quiet")
    assert again.read_bytes() != rpms[1].read_bytes()

    def replaced(handler: BaseHTTPRequestHandler) -> None:
        offer(server, key, [again])
        body(again.read_bytes())(handler)

    server.faults = {f"/{rpms[1].name}": [body(again.read_bytes())]}
    fails(clone, clone.doit("archive"), 1, rpms[1].name, "bytes and the sha256", hint="changed or was damaged")
    server.faults = {f"/{rpms[1].name}": [replaced]}
    whole(clone)
    message = git(clone.git_dir, "log", "-1", "--format=%B", VERSIONS[1])
    assert f"Checksum: sha256:{rpmtools.sha256(again)}" in message
    offer(server, key, [rpms[1]])
    before = clone.tags()
    clone.archived()
    assert clone.tags() == before, "the one that was archived stays"
    clone.proven()


def test_two_packages_of_one_version(clone: Archivist, server: Server, key: Key, tmp_path: Path) -> None:
    """Nothing is written; the version can be left out, or tags can have the release."""
    offer(server, key, [package(tmp_path / "more", key, VERSIONS[1], FIRST, release="2")])
    fails(clone, clone.doit("archive"), 1, "2 packages", VERSIONS[1], "-1.noarch.rpm", "-2.noarch.rpm", hint="exclude")
    assert clone.refs() == {}
    clone.configure(tags="version-release")
    clone.archived()
    assert sorted(clone.tags()) == sorted([*(f"{one}-1" for one in VERSIONS), f"{VERSIONS[1]}-2"])
    clone.proven()
    other = Archivist(tmp_path / "two", f"{server.url}/", key)
    other.configure(exclude=f'["{VERSIONS[1]}"]')
    other.archived()
    assert sorted(other.tags()) == sorted({*VERSIONS} - {VERSIONS[1]})
    other.proven()


def test_strange_versions_and_names(clone: Archivist, server: Server, key: Key, tmp_path: Path) -> None:
    """`1.1-2.0` is a version and a release; a file's name decides nothing."""
    odd = package(tmp_path / "more", key, "1.1", FIRST - 86_400, release="2.0")
    tilde = package(tmp_path / "more", key, "2.10.1.0~rc1", FIRST, release="dkms")
    other = odd.rename(odd.with_name(f"{PACKAGE}-7.7.7.noarch.rpm"))
    offer(server, key, [other, tilde])
    clone.archived()
    assert git(clone.git_dir, "log", "--format=%s", "2.10.1.0", "--").splitlines()[-1] == f"{PACKAGE} 1.1-2.0"
    assert git(clone.git_dir, "rev-parse", "2.10.1.0_rc1^") == clone.tags()["1.9.0.0"]
    message = git(clone.git_dir, "log", "-1", "--format=%B", "1.1")
    assert "Version: 1.1\nRelease: 2.0" in message and f"Filename: {other.name}" in message
    clone.proven()


def test_a_header_that_is_not_as_listed(clone: Archivist, server: Server, key: Key, rpms: list[Path]) -> None:
    publish(server, key, rpms[0].read_bytes(), version="9.9")
    fails(clone, clone.doit("archive"), 1, "p.rpm was offered as", "9.9", "but is", VERSIONS[0], hint="tell the vendor")
    assert clone.tags() == {}


@pytest.mark.parametrize("case", [*EVIL, "a repository's own folder"])
def test_a_payload_that_writes_elsewhere(case: str, clone: Archivist, server: Server, key: Key) -> None:
    files, reason = EVIL.get(case, ([File(f"{ROOT}/.git", mode=FOLDER), File(f"{ROOT}/.git/hooks", b"x")], ""))
    folders = [File("/usr", mode=FOLDER), File(ROOT, mode=FOLDER), File(f"{ROOT}/main.c", b"int a;\n")]
    publish(server, key, crafted([*folders, *files], key), version=DRIVER)
    said = fails(clone, clone.doit("archive"), 1, "p.rpm: ", hint="don't use the package")
    assert clone.tags() == {}, (reason, said)


def test_keys(clone: Archivist, server: Server, key: Key, rpms: list[Path], tmp_path: Path) -> None:
    """Expired, another, replaced, damaged; what was archived before is still proven."""
    clone.archived()
    before = clone.tags()
    with signing_key() as other, signing_key(PAST, expires="2020-02-01") as expired:
        forged = package(tmp_path / "more", other, "5.0", FIRST)
        offer(server, key, [forged])
        fails(clone, clone.doit("archive"), 1, forged.name, "not by", key.fingerprint, hint="from the vendor")
        clone.proven()
        offer(server, other, [forged])
        fails(clone, clone.doit("archive"), 1, "key.pub is not", key.fingerprint, hint="from the vendor")
        assert clone.tags() == before
        clone.proven()
        path = rpmtools.build_rpm(tmp_path, name=PACKAGE, version="5.0", when=FIRST)
        rpmtools.sign_rpm(path, expired, "--rpmv3", "--define", f"_gpg_sign_cmd_extra_args {PAST}")
        fresh = Archivist(tmp_path / "two", f"{server.url}/", expired)
        for old in server.folder.glob("*.rpm"):
            old.unlink()
        offer(server, expired, [path])
        fails(fresh, fresh.doit("archive"), 1, "has expired", hint="a newer one")
    (server.folder / "key.pub").write_bytes(b"<html>")
    assert "holds no public key" in fails(fresh, fresh.doit("archive"), 1)


def test_an_archive_that_is_not_ours(clone: Archivist, server: Server, tmp_path: Path) -> None:
    """Somebody's repository, branch, tag, file: nothing of it is touched."""
    place = tmp_path / "theirs"
    rpmtools.command("git", "init", "--quiet", "--initial-branch=main", place)
    who = ("-c", "user.name=x", "-c", "user.email=x@x")
    rpmtools.command("git", "-C", place, *who, "commit", "--allow-empty", "-qm", "mine")
    before = git(place / ".git", "rev-parse", "main")
    clone.configure(path=str(place))
    fails(clone, clone.doit("archive"), 1, "ends in a commit that is not the archive's", "'mine'", hint="of its own")
    assert git(place / ".git", "for-each-ref", "--format=%(objectname)") == before
    git(place / ".git", "branch", "--move", "other")
    git(place / ".git", "tag", VERSIONS[1])
    fails(clone, clone.doit("archive"), 1, f"has a tag {VERSIONS[1]} that is none of this archive's", hint="of its own")
    git(place / ".git", "tag", "--delete", VERSIONS[1])
    shutil.rmtree(place)
    place.write_text("a file")
    fails(clone, clone.doit("archive"), 1, "is no git repository", hint="archive.path")
    place.unlink()
    whole_at(clone, place)


def whole_at(clone: Archivist, place: Path) -> None:
    clone.archived()
    assert len(clone.refs(place / ".git" if (place / ".git").exists() else place)) == len(VERSIONS) + 1
    clone.proven()


def test_a_dirty_work_tree(clone: Archivist, server: Server, key: Key, tmp_path: Path) -> None:
    place = tmp_path / "mine"
    clone.configure(path=str(place))
    clone.archived()
    (place / "src/main.c").write_text("mine")
    offer(server, key, [package(tmp_path / "more", key, "3.0", FIRST + 10**6)])
    fails(clone, clone.doit("archive"), 1, "changes that nobody committed: src/main.c", hint="stash")
    assert (place / "src/main.c").read_text() == "mine"
    assert "refs/tags/3.0" not in clone.refs(place / ".git")
    git(place / ".git", "--work-tree", str(place), "checkout", "--", ".")
    clone.archived()
    assert "3.0" in (place / "src/main.c").read_text()


def test_a_lock_that_a_killed_git_left(clone: Archivist, tmp_path: Path, server: Server, key: Key) -> None:
    """Below build/ it is mended; in a repository of the user's it is said, with the command."""
    clone.archived()
    (clone.git_dir / "refs/heads/main.lock").touch()
    (clone.git_dir / "packed-refs.lock").touch()
    offer(server, key, [package(tmp_path / "more", key, "3.0", FIRST + 10**6)])
    clone.archived()
    other = Archivist(tmp_path / "two", f"{server.url}/", key)
    other.configure(path=str(tmp_path / "mine.git"))
    other.archived()
    lock = tmp_path / "mine.git/refs/heads/main.lock"
    lock.touch()
    offer(server, key, [package(tmp_path / "more", key, "3.1", FIRST + 2 * 10**6)])
    fails(other, other.doit("archive"), 1, "a git is at work, or was killed", hint=f"rm {lock}")
    lock.unlink()
    other.archived()


def test_a_full_disk(clone: Archivist) -> None:
    (clone.build / "archive").mkdir(parents=True)
    with small_disk(clone.build / "archive", 60) as grow:
        run = clone.doit("archive")
        assert (run.code, "Traceback" in run.text) == (3, False), run.text
        assert "No space left" in run.out and "free some space" in run.out, run.text
        grow(100_000)
        whole(clone)


def test_a_remote(clone: Archivist, server: Server, key: Key, tmp_path: Path) -> None:
    """Pushed; while it is away that is reported, and made up for later; another checkout goes on from it.

    What went another way is refused.
    """
    remote = tmp_path / "remote.git"
    clone.configure(remote=str(remote))
    run = clone.doit("archive")
    fails(clone, run, 3, "can't be reached", hint="next `doit archive`")
    rpmtools.command("git", "init", "--quiet", "--bare", remote)
    clone.archived()
    assert clone.refs(remote) == clone.refs()
    server.hits.clear()
    assert (clone.archived().processes, len(server.hits)) == ([], 1)
    other = Archivist(tmp_path / "two", f"{server.url}/", key)
    other.configure(remote=str(remote))
    offer(server, key, [package(tmp_path / "more", key, "3.0", FIRST + 10**6)])
    server.hits.clear()
    other.archived()
    assert [hit for hit in server.hits if hit.endswith(".rpm")] == [f"/{PACKAGE}-3.0-1.noarch.rpm"]
    assert other.refs() == other.refs(remote)
    offer(server, key, [package(tmp_path / "more", key, "3.1", FIRST + 2 * 10**6)])
    clone.archived()
    assert clone.refs() == clone.refs(remote)
    git(remote, "update-ref", "refs/tags/3.0", clone.tags()["3.1"])
    offer(server, key, [package(tmp_path / "more", key, "3.2", FIRST + 3 * 10**6)])
    fails(clone, clone.doit("archive"), 1, "gone different ways", "the tag 3.0", hint="archive:verify")
    assert "3.2" not in clone.tags()


def test_a_remote_that_is_away_for_a_moment(clone: Archivist, tmp_path: Path) -> None:
    remote = tmp_path / "remote.git"
    rpmtools.command("git", "init", "--quiet", "--bare", tmp_path / "away.git")
    clone.configure(remote=str(remote))

    def later() -> None:
        log = clone.build / "archive/neuron.log"
        while not log.exists() or "exit code" not in log.read_text():
            time.sleep(0.01)
        (tmp_path / "away.git").rename(remote)

    thread = threading.Thread(target=later)
    thread.start()
    clone.archived(KMOD_TEST_LONGEST_PAUSE="1")
    thread.join()
    assert clone.refs(remote) == clone.refs()


CONFIGURATION: list[tuple[Callable[[Archivist], None], str]] = [
    (lambda clone: clone.edit(FAMILY, "  license: GPL-2.0-only", "  license: MIT"), "$.archive.license_texts"),
    (lambda clone: clone.edit(FAMILY, "email: archive@kmod-foundry.invalid", "email: a b"), "$.archive.author.email"),
    (lambda clone: clone.configure(branch="a..b"), "$.archive.branch"),
    (lambda clone: clone.configure(colour="red"), "$.archive"),
    (lambda clone: clone.edit(FAMILY, "container/licenses/GPL-2.0.txt}", "container/none.txt}"), "container/none.txt"),
]


@pytest.mark.parametrize("number", range(len(CONFIGURATION)))
def test_settings_that_are_wrong(number: int, clone: Archivist) -> None:
    change, place = CONFIGURATION[number]
    change(clone)
    run = clone.doit("archive")
    assert (run.code, "Traceback" in run.text) == (2, False), run.text
    assert place in run.text and "config/drivers/neuron.yaml" in run.text
    assert not clone.git_dir.exists()


def test_a_server_that_fails(clone: Archivist, server: Server) -> None:
    clone.edit("config/defaults.yaml", "network_timeout: 900", "network_timeout: 3")
    server.faults = {"/repodata/repomd.xml": [status(503)] * OFTEN}
    fails(clone, clone.doit("archive"), 3, "repomd.xml", "503")
    server.faults = {}
    whole(clone)
