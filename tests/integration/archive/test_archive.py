"""`doit archive`: what it writes, what it leaves alone, and that two archives of the same packages are the same."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import tomllib
from pathlib import Path

from tests.harness import rpmtools
from tests.harness.archives import NOTES, VERSIONS, Archivist, git, offer, package
from tests.harness.clone import ROOT
from tests.harness.rpmtools import Key, Server
from tests.harness.vendor import PACKAGE
from tests.harness.workflow import Play, Workflow

FIRST = 1_600_000_000
DAY = 86_400


def test_an_archive(clone: Archivist, server: Server, key: Key, rpms: list[Path]) -> None:
    """Every version has a tag, a message that says all, its sources, its package; the branch has the rest."""
    (server.folder / "notes.rst").write_text(NOTES, encoding="utf-8")
    clone.configure(**{"release-notes": f'{{url: "{server.url}/notes.rst", license: CC0-1.0}}'})
    clone.archived()
    assert sorted(clone.tags()) == sorted(VERSIONS)
    assert git(clone.git_dir, "log", "--format=%s", "2.10.1.0").splitlines() == [
        f"{PACKAGE} {version}-1" for version in reversed(VERSIONS)
    ]
    newest = rpms[-1]
    message = git(clone.git_dir, "log", "-1", "--format=%B", "2.10.1.0")
    facts = rpmtools.command("rpm", "-qp", "--nosignature", "--qf", "%{BUILDHOST}|%{BUILDTIME}", newest).split("|")
    built = git(clone.git_dir, "log", "-1", "--format=%at %ct", "2.10.1.0")
    assert built == f"{facts[1]} {facts[1]}" == f"{FIRST + 2 * DAY} {FIRST + 2 * DAY}"
    for line in (
        f"Package: {PACKAGE}", "Version: 2.10.1.0", "License: GPL-2.0", "Summary: A thing",
        "Description: A thing to unpack.", f"Source code extracted from file: {newest.name}",
        f"Downloaded from repository: {clone.address}", f"Filename: {newest.name}",
        f"Checksum: sha256:{rpmtools.sha256(newest)}", f"Buildhost: {facts[0]}", "Buildtime: 2020-09-15T12:26:40Z",
        "GPG key primary uid: Test Vendor <vendor@invalid>",
        f"GPG key fingerprint: {key.fingerprint}", "GPG check: OK", "SHA256 check: OK", "  * Faster.",
        "Sources from: usr/src/thing-2.10.1.0/", "  M src/main.c", f"  A archive/rpm/{newest.name}",
    ):
        assert line in message.splitlines(), message
    made = rpmtools.command("gpg", "--batch", "--with-colons", "--show-keys", key.file).split("\n")[0].split(":")[5]
    assert f"GPG key creation time: {gmt(int(made))}" in message
    lines = [line.partition("\t") for line in git(clone.git_dir, "ls-tree", "-r", "2.10.1.0").splitlines()]
    tree = {path: facts for facts, _, path in lines}
    assert tree["src/tool"].startswith("100755") and tree["src/sub/link"].startswith("120000")
    assert tree["src/one"].split()[2] == tree["src/sub/two"].split()[2]
    assert git(clone.git_dir, "cat-file", "blob", "2.10.1.0:src/main.c") == "version 2.10.1.0"
    assert not [path for path in tree if path.startswith("archive/") and "rpm" not in path]
    assert "Release Notes: not known" in git(clone.git_dir, "log", "-1", "--format=%B", VERSIONS[0])
    branch = git(clone.git_dir, "ls-tree", "-r", "--name-only", "main").splitlines()
    for name in ("key.asc", "repomd.xml", "primary.xml.gz", "filelists.xml.gz", "other.xml.gz", "release-notes.rst"):
        assert {f"archive/{name}", f"archive/{name}.sha256"} <= {*branch}
    kept = {f"archive/rpm/{one.name}" for one in rpms}
    assert {"README.md", "REUSE.toml", "LICENSES/GPL-2.0-only.txt", "LICENSES/MIT-0.txt", *kept} <= {*branch}
    terms = tomllib.loads(git(clone.git_dir, "show", "main:REUSE.toml"))["annotations"]
    assert [(term["path"][0], term["SPDX-License-Identifier"]) for term in terms] == [
        ("README.md", "CC0-1.0"), ("archive/**", "MIT-0"), ("src/**", "GPL-2.0-only"),
        ("archive/release-notes.rst", "CC0-1.0")]
    clone.proven()
    record = json.loads((clone.build / "archive/neuron.json").read_text())
    from foundry.base.schema import ValidationCache

    assert ValidationCache(clone.root, clone.root / "x").faults("record-archive", record, "record") == []


def gmt(seconds: int) -> str:
    return subprocess.run(["date", "-u", f"-d@{seconds}", "+%Y-%m-%dT%H:%M:%SZ"], capture_output=True, text=True,
                          check=True).stdout.strip()


def test_checked_by_other_tools(clone: Archivist, tmp_path: Path) -> None:
    """A clone of the archive with nothing but git, sha256sum and rpm."""
    clone.archived()
    rpmtools.command("git", "clone", "--quiet", clone.git_dir, tmp_path / "work")
    for folder in ("archive", "archive/rpm"):
        sums = sorted((tmp_path / "work" / folder).glob("*.sha256"))
        subprocess.run(["sha256sum", "--check", "--strict", "--quiet", *sums], check=True, cwd=sums[0].parent)
    rpm = next((tmp_path / "work/archive/rpm").glob(f"*{VERSIONS[-1]}*.rpm"))
    out = tmp_path / "out"
    out.mkdir()
    content = subprocess.run(["rpm2cpio", rpm], capture_output=True, check=True).stdout
    subprocess.run(["cpio", "-id", "--quiet"], input=content, check=True, cwd=out)
    shutil.rmtree(out / f"usr/src/thing-{VERSIONS[-1]}/empty")  # git has no empty folders
    subprocess.run(["diff", "-r", f"usr/src/thing-{VERSIONS[-1]}", tmp_path / "work/src"], cwd=out, check=True)


def test_nothing_new_costs_one_conditional_request(clone: Archivist, server: Server) -> None:
    clone.archived()
    before = clone.refs()
    server.hits.clear()
    run = clone.archived()
    assert (server.hits, server.unmodified) == (["/repodata/repomd.xml"], 1)
    assert run.processes == []
    assert "nothing new" in run.out
    assert clone.refs() == before
    assert clone.doit("list").connections == []


def test_the_same_ids_elsewhere(clone: Archivist, server: Server, key: Key, tmp_path: Path) -> None:
    """Another folder, time zone, user's configuration and hooks; no conversion of line ends."""
    clone.archived()
    other = Archivist(tmp_path / "two", f"{server.url}/", key)
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        "[user]\nname = Somebody\nemail = some@body\n[core]\nautocrlf = true\n[commit]\ngpgsign = true\n"
        "[init]\ndefaultBranch = other\n[i18n]\ncommitEncoding = latin1\n", encoding="utf-8"
    )
    other.archived(HOME=str(home), TZ="Asia/Tokyo", GIT_AUTHOR_NAME="Nobody", GIT_COMMITTER_DATE="2001-01-01T00:00:00Z",
                   GIT_DIR=str(tmp_path / "elsewhere"), LC_ALL="C.UTF-8")
    assert other.refs() == clone.refs()
    assert not (tmp_path / "elsewhere").exists()


def test_bit_by_bit_is_as_at_once(clone: Archivist, server: Server, key: Key, rpms: list[Path], tmp_path: Path) -> None:
    """The versions' commits do not depend on when an archive was made, a backport that is built late included."""
    clone.archived()
    backport = package(tmp_path / "more", key, "1.9.5.0", FIRST + 5 * DAY)
    head = clone.refs()["refs/heads/main"]
    offer(server, key, [backport])
    run = clone.archived()
    assert "1 version added, 4 in all" in run.out
    tags = clone.tags()
    assert git(clone.git_dir, "rev-parse", "1.9.5.0^") == tags["1.9.0.0"]
    assert git(clone.git_dir, "rev-parse", "2.0.386.0^") == tags["1.9.0.0"], "nothing was rewritten"
    git(clone.git_dir, "merge-base", "--is-ancestor", head, "main")
    git(clone.git_dir, "merge-base", "--is-ancestor", tags["1.9.5.0"], "main")
    assert git(clone.git_dir, "cat-file", "blob", "main:src/main.c") == "version 2.10.1.0", "HEAD never goes backwards"
    clone.proven()
    other = Archivist(tmp_path / "two", f"{server.url}/", key)
    other.archived()
    assert other.tags() == tags
    other.proven()
    newer = package(tmp_path / "more", key, "2.11.0.0", FIRST + 9 * DAY)
    offer(server, key, [newer])
    for one in (clone, other):
        one.archived()
        assert git(one.git_dir, "cat-file", "blob", "main:src/main.c") == "version 2.11.0.0"
    assert clone.tags() == other.tags()


def test_what_comes_late(clone: Archivist, server: Server, key: Key, tmp_path: Path) -> None:
    """A version that was built before others and published after them has its place, and is named as late."""
    clone.archived()
    before = clone.tags()
    offer(server, key, [package(tmp_path / "more", key, "1.9.9.0", FIRST + DAY // 2)])
    clone.archived()
    assert clone.tags() == before | {"1.9.9.0": clone.tags()["1.9.9.0"]}
    assert "came later than their build time says" in clone.proven().out


def test_new_notes_alone(clone: Archivist, server: Server) -> None:
    (server.folder / "notes.rst").write_text(NOTES, encoding="utf-8")
    clone.configure(**{"release-notes": f'{{url: "{server.url}/notes.rst", license: CC0-1.0}}'})
    clone.archived()
    before = clone.refs()
    server.hits.clear()
    clone.archived()
    assert server.hits == ["/repodata/repomd.xml", "/notes.rst"]
    (server.folder / "notes.rst").write_text(NOTES + "\nRelease [3]\n-----------\n\nSoon.\n", encoding="utf-8")
    clone.archived()
    assert git(clone.git_dir, "log", "-1", "--format=%s", "main") == "Archive: release notes"
    assert git(clone.git_dir, "rev-parse", "main^") == before["refs/heads/main"]
    assert clone.refs() == before | {"refs/heads/main": clone.refs()["refs/heads/main"]}
    clone.proven()


def test_a_folder_of_packages(clone: Archivist, server: Server, key: Key, rpms: list[Path], tmp_path: Path) -> None:
    """Without metadata nobody vouches for checksums, and the messages say so; with metadata it is a repository."""
    folder = clone.root / "rpms"
    folder.mkdir()
    for path in rpms:
        shutil.copyfile(path, folder / path.name)
    clone.configure(**{"from": "rpms"})
    run = clone.archived()
    assert not [hit for hit in server.hits if hit != "/key.pub"]
    assert sorted(clone.tags()) == sorted(VERSIONS)
    assert "SHA256 check: not known: there was no list" in git(clone.git_dir, "log", "-1", "--format=%B", "2.10.1.0")
    clone.proven()
    run = clone.archived()
    assert (run.processes, run.connections) == ([], [])
    shutil.copyfile(package(tmp_path / "more", key, "3.0", FIRST + 9 * DAY), folder / "new.rpm")
    clone.archived()
    assert git(clone.git_dir, "cat-file", "blob", "main:src/main.c") == "version 3.0"
    rpmtools.index(folder)
    other = Archivist(tmp_path / "two", f"{server.url}/", key)
    other.configure(**{"from": folder.as_uri()})
    other.archived()
    assert "SHA256 check: OK" in git(other.git_dir, "log", "-1", "--format=%B", "3.0")
    other.proven()


def test_a_work_tree_of_the_users(clone: Archivist, server: Server, key: Key, tmp_path: Path) -> None:
    """A repository with files shows the branch; what is not tracked stays."""
    place = tmp_path / "mine"
    clone.configure(path=str(place), branch="sources")
    clone.archived()
    assert (place / "src/main.c").read_text() == "version 2.10.1.0 \n"
    (place / "note.txt").write_text("mine")
    offer(server, key, [package(tmp_path / "more", key, "3.0", FIRST + 9 * DAY)])
    clone.archived()
    assert (place / "src/main.c").read_text() == "version 3.0 \n"
    assert git(place / ".git", "--work-tree", str(place), "status", "--porcelain") == "?? note.txt"
    clone.proven()


def test_builds_take_their_sources_from_it(clone: Archivist, server: Server, key: Key, tmp_path: Path) -> None:
    """The same lock and the same bytes; the vendor's server is not asked."""
    clone.write("build-matrix.json", [{"driver": "2.10.1.0", "ocp_versions": ["4.16.30"]}])
    clone.archived()
    assert clone.doit("source").code == 0
    lock = (clone.root / "config/locks/neuron.json").read_bytes()
    source = clone.build / "sources/2.10.1.0"
    names = ("package.rpm", "source.tar")
    before = {name: (source / name).read_bytes() for name in names}
    other = Archivist(tmp_path / "two", "http://127.0.0.1:9/", key)
    other.write("build-matrix.json", [{"driver": "2.10.1.0", "ocp_versions": ["4.16.30"]}])
    other.edit("config/defaults.yaml", "source: repository", "source: archive")
    other.configure(path=str(clone.git_dir))
    server.hits.clear()
    run = other.doit("source")
    assert (run.code, run.connections, server.hits) == (0, [], []), run.text
    assert {name: (other.build / "sources/2.10.1.0" / name).read_bytes() for name in names} == before
    text = (other.root / "config/locks/neuron.json").read_bytes()
    assert text == lock.replace(server.url.encode(), b"http://127.0.0.1:9")
    other.write("build-matrix.json", [{"driver": "9.9", "ocp_versions": ["4.16.30"]}])
    run = other.doit("fetch")
    assert run.code == 1 and "has no version 9.9" in run.out and "it has 2.10.1.0, 2.0.386.0" in run.out, run.text


def test_metadata_is_as_the_repository_had_it(clone: Archivist, server: Server) -> None:
    clone.archived()
    (primary,) = (server.folder / "repodata").glob("*-primary.xml.gz")
    raw = subprocess.run(["git", "--git-dir", clone.git_dir, "cat-file", "blob", "main:archive/primary.xml.gz"],
                         capture_output=True, check=True).stdout
    assert raw == primary.read_bytes()
    assert PACKAGE in gzip.decompress(raw).decode()


def test_the_weekly_workflow(server: Server, key: Key, rpms: list[Path], tmp_path: Path) -> None:
    """Played step by step: each week on a machine that has nothing, the archive goes on from its remote."""
    remote = tmp_path / "remote.git"
    rpmtools.command("git", "init", "--quiet", "--bare", remote)
    contexts = {"github": {}, "vars": {"ARCHIVE_REMOTE": str(remote)}, "secrets": {"ARCHIVE_TOKEN": "a-token"}}
    workflow = Workflow("archive-driver-sources.yml", contexts, {"GITHUB_ACTIONS": "true"})
    text = (ROOT / ".github/workflows/archive-driver-sources.yml").read_text(encoding="utf-8")
    assert "\n  push" not in text, "what it pushes does not start it again"
    tips = []
    for week in (1, 2):
        machine = Archivist(tmp_path / f"week{week}", f"{server.url}/", key)
        machine.extra.pop("KMOD_PROFILE")
        machine.profile = "github"
        (machine.root / ".venv").mkdir()
        (machine.root / ".venv/bin").symlink_to(ROOT / ".venv/bin")
        (machine.root / ".venv/.runtime").touch()
        server.hits.clear()
        play = Play(workflow, tmp_path / "artifacts", week)
        assert play.wanted("archive")
        job = play.play("archive", machine)
        assert job.result == "success" and "3 versions proven" in job.text, job.text
        assert "a-token" not in job.text + job.summary
        assert len([hit for hit in server.hits if hit.endswith(".rpm")]) == (len(rpms) if week == 1 else 0)
        tips.append(git(remote, "rev-parse", "main"))
    assert tips[0] == tips[1]
    contexts["vars"] = {"ARCHIVE_REMOTE": ""}
    assert not Play(Workflow("archive-driver-sources.yml", contexts, {}), tmp_path / "artifacts", 3).wanted("archive")
