"""The archive's form: messages, names, places, trees, and which text of release notes is a version's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from foundry.archive import form
from foundry.archive.content import Version, parent_of, sort_key
from foundry.archive.form import Evr, Said, Update
from foundry.archive.gittree import Blob, changes, parse_listing, tree_id
from foundry.archive.vendor_notes import section_of
from foundry.base.errors import FoundryError
from foundry.base.git_ids import blob_id
from foundry.formats.packages.rpm import parse_package
from tests.harness.checkout import ROOT
from tests.harness.rpmwriter import GOOD, build

GOLDEN = ROOT / "tests/unit/golden"


def said(**changes: object) -> Said:
    facts: dict[str, object] = {
        "file_name": "t.rpm", "location": "a/t.rpm", "sha256": "1" * 64, "fingerprint": "F" * 40,
        "key_uid": "Somebody <some@body>", "key_created": 1_500_000_000, "listed": True, "root": "usr/src/t/",
        "notes": "Notes.\n\n  More: of them.", "keeper": "Keeper <k@e>", "tree": "2" * 64,
        "changed": [("A", "src/a.c"), ("D", "src/b.c")], "repository": "https://yum.invalid/",
    }
    return Said(**{**facts, **changes})  # type: ignore[arg-type]


def test_messages_are_as_they_were() -> None:
    """Every archive's ids follow from them: who changes one makes other archives than those that there are."""
    package = parse_package(build(GOOD))
    update = Update(["metadata"], "1700000000", "1.2.3-1", 7, 1_600_000_000, "Keeper <k@e>", "3" * 64, [("M", "x")])
    licences = form.reuse_toml([(("src/**", "a\"b"), "Somebody", "GPL-2.0-only")])
    assert b"\n--\n".join([
        form.version_message(package, said()), form.update_message(update), licences,
        form.checksum_line("4" * 64, "t.rpm"),
    ]).decode() == (GOLDEN / "archive.txt").read_text(encoding="utf-8")


def test_what_is_not_known_says_so() -> None:
    tags = dict.fromkeys((1004, 1005, 1006, 1007, 1014))
    bare = parse_package(build(GOOD, tags=tags))
    less = said(repository="", location="", notes=None, key_created=None, key_uid="", listed=False)
    text = form.version_message(bare, less).decode()
    for name in ("License", "Summary", "Description", "Buildhost", "Buildtime", "Location", "Release Notes",
                 "GPG key creation time", "GPG key primary uid", "Downloaded from repository"):
        assert f"{name}: not known\n" in text
    assert "SHA256 check: not known: there was no list" in text


def test_fields_are_read_as_they_were_written() -> None:
    package = parse_package(build(GOOD, tags={1005: (9, "One.\n\nTwo: and\n  more\x07")}))
    fields = form.parse_fields(form.version_message(package, said()))
    assert fields["Description"] == "One.\n\nTwo: and\n  more\ufffd"
    assert (fields["Version"], fields["Archived by"]) == ("1.2.3", "Keeper <k@e>")
    assert fields["Release Notes"] == "Notes.\n\n  More: of them."


@pytest.mark.parametrize("version, tag", [("2.0.386.0", "2.0.386.0"), ("1.0~rc1", "1.0_rc1"), ("1.0^git", "1.0%git")])
def test_tags(version: str, tag: str) -> None:
    assert form.tag_name(Evr(0, version, "1")) == tag
    assert form.tag_name(Evr(0, version, "2.el8"), with_release=True) == f"{tag}-2.el8"
    subprocess.run(["git", "check-ref-format", f"refs/tags/{tag}"], check=True)


@pytest.mark.parametrize("version", ["1..2", "1.lock", "1."])
def test_versions_that_can_be_no_tag(version: str) -> None:
    with pytest.raises(FoundryError) as caught:
        form.tag_name(Evr(0, version, "1"))
    assert caught.value.reason == "archive-version"


def test_subjects() -> None:
    for evr in (Evr(0, "1.1", "2.0"), Evr(3, "2.0.386.0", "dkms")):
        assert form.evr_of(f"thing {evr}") == evr
    assert form.evr_of("Archive: metadata") is None
    assert form.evr_of("Merge branch x") is None


def test_places() -> None:
    one = ["usr/src/thing-1/a.c", "usr/src/thing-1/v/b.c", "usr/share/thing/post", "usr/src/readme"]
    assert form.placed(one) == ("usr/src/thing-1/", {
        "usr/src/thing-1/a.c": "src/a.c", "usr/src/thing-1/v/b.c": "src/v/b.c",
        "usr/share/thing/post": "payload/usr/share/thing/post", "usr/src/readme": "payload/usr/src/readme",
    })
    assert form.placed(["usr/src/a/x", "usr/src/b/x"])[1] == {
        "usr/src/a/x": "src/usr/src/a/x", "usr/src/b/x": "src/usr/src/b/x"}


@pytest.mark.parametrize("path", [".git/config", "a/.GIT/x", "a/git~1", "a/.git . ", "a/.g\u200cit/x"])
def test_names_that_are_gits(path: str) -> None:
    assert form.is_unsafe(path)
    assert not form.is_unsafe("src/.gitignore")


def test_trees_are_gits(tmp_path: Path) -> None:
    """Ids of blobs and trees, against git itself; a folder sorts as if its name ended in a slash."""
    def git(*words: str, data: bytes = b"") -> bytes:
        return subprocess.run(["git", *words], cwd=tmp_path, input=data, capture_output=True, check=True).stdout

    git("init", "--quiet")
    for name in ("a/b/c", "a.c", "a0", "ab", "a-b", "\u00e9"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "l").symlink_to("a.c")
    git("add", "-A")
    tree = git("write-tree").decode().strip()
    listing = parse_listing(git("ls-tree", "-r", "-z", tree))
    assert tree_id(listing, "sha1") == tree
    assert listing["a.c"] == Blob("100644", blob_id(b"a.c", "sha1"))
    assert changes(listing, {**listing, "new": listing["ab"], "ab": listing["a0"]}) == [("M", "ab"), ("A", "new")]


def test_what_a_commits_parent_is() -> None:
    """The highest lower version that was built before it; version order is rpm's."""
    def version(text: str, when: int) -> Version:
        return Version(Evr(0, text, "1"), text, when, f"refs/tags/{text}")

    there = [version("2.9", 10), version("2.10", 20), version("2.12.11", 30), version("2.13.4", 40), version("3", 60)]
    assert sorted(there, key=lambda one: sort_key(one.evr)) == there

    def before(text: str, when: int) -> str | None:
        found = parent_of(Evr(0, text, "1"), when, there)
        return found.commit if found else None

    assert before("2.12.18", 50) == "2.12.11"
    assert before("2.13.5", 50) == "2.13.4"
    assert before("4", 50) == "2.13.4", "3 was built later"
    assert before("2.8", 50) is None
    assert parent_of(Evr(1, "1", "1"), 99, there) == there[-1]


RST = """Notes
=====

Thing [1.10]
-----

Date: today

New
^^^

* a ``1.1``

Thing [1.1]
-----------
* b
"""
MARKDOWN = """# Notes

## v2.0 (today)

```sh
# 1.0 is not a heading
```
### Fixed
- c

## 1.0
- d
"""


@pytest.mark.parametrize("text, version, section", [
    (RST, "1.10", "Date: today\n\nNew\n^^^\n\n* a ``1.1``"), (RST, "1.1", "* b"), (RST, "1", None), (RST, "10", None),
    (MARKDOWN, "2.0", "```sh\n# 1.0 is not a heading\n```\n### Fixed\n- c"), (MARKDOWN, "1.0", "- d"), ("", "1", None),
])
def test_release_notes(text: str, version: str, section: str | None) -> None:
    assert section_of(text, version) == section


@pytest.mark.parametrize("sign", ["# ", " ", "=", "=#", "~x"])
def test_notes_with_endless_lines(sign: str) -> None:
    """A heading is short: in a longer line none is looked for, which could take for ever."""
    line = "# " + sign * 200_000 + "x"
    section = section_of(f"{line}\n\nVersion 1.2\n-----------\nfine\n{line}\n", "1.2")
    assert section is not None
    assert section.startswith("fine\n#")
    assert len(section) <= 64 << 10
