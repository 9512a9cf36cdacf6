"""The archive's form: where files lie in it, what its commits say. All of it follows from the packages alone.

What is written here decides every commit's id: a change makes other archives than those that
there are (docs/decisions/0013-the-archives-history.md), and a golden test says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.base.times import utc

if TYPE_CHECKING:
    from foundry.formats.packages.rpm import Package

RPMS = "archive/rpm/"
SOURCES, PAYLOAD = "src/", "payload/"
README = "README.md"
NOTES = "release-notes"
UNKNOWN = "not known"
OK = "OK"
NO_LIST = "not known: there was no list of checksums"
# Fields of messages; these and others are called as in wombelix/aws-neuron-driver, which people read already.
REPOSITORY, FILE_NAME, LOCATION = "Downloaded from repository", "Filename", "Location"
_NOTES = "Release Notes"
_CHECKSUM = re.compile(r"([0-9a-f]{64})  ([^\n]+)\n")
_SUBJECT = re.compile(r"[^\s]+ (?:(?P<epoch>[0-9]+):)?(?P<version>[^\s:-]+)-(?P<release>[^\s-]+)")
_DIRS = ("usr", "src")


@dataclass(frozen=True)
class Evr:
    """Epoch, version and release of a package: what its place among the others follows from."""

    epoch: int
    version: str
    release: str

    def __str__(self) -> str:
        return (f"{self.epoch}:" if self.epoch else "") + f"{self.version}-{self.release}"


@dataclass(frozen=True)
class Said:
    """What a version's commit says besides what its package does.

    `key_uid` and `key_created` (seconds since 1970) are of the key that signed, `notes` the text of
    the release notes, `keeper` who keeps the archive (``Name <email>``), `tree` the hex SHA-256 over all
    of the commit's files, `changed` what differs from the commit before; `repository` is the address of the
    vendor's repository, empty where no list of it named the package.
    """

    file_name: str
    location: str
    sha256: str
    fingerprint: str
    key_uid: str
    key_created: int | None
    listed: bool
    root: str
    notes: str | None
    keeper: str
    tree: str
    changed: Sequence[tuple[str, str]]
    repository: str = ""


def subject_of(package: Package) -> str:
    """The first line of a version's commit."""
    return f"{package.name} {Evr(package.epoch or 0, package.version, package.release)}"


def evr_of(subject: str) -> Evr | None:
    """The version that a commit with this subject holds; None for all others."""
    match = _SUBJECT.fullmatch(subject)
    return Evr(int(match["epoch"] or 0), match["version"], match["release"]) if match else None


def tag_name(evr: Evr, *, with_release: bool = False) -> str:
    """The tag of a version, with its release where one version has several.

    What git does not allow in one is written as Debian's DEP-14 does: ``~`` as ``_``.
    """
    version = f"{evr.version}-{evr.release}" if with_release else evr.version
    name = version.replace("~", "_").replace("^", "%")
    if ".." in name or name[:1] in (".", "-") or name.endswith((".", ".lock")):
        raise FoundryError(f"the version {version} can't be the name of a tag", reason=Reason.ARCHIVE_VERSION,
                           hint="leave it out by `archive.exclude` in the family's file")
    return name


def placed(paths: Iterable[str]) -> tuple[str, dict[str, str]]:
    """Where the files of a payload go: the folder that ``src/`` is made of, and each file's path in the archive.

    The one folder below ``usr/src`` that has files becomes ``src/``, so that versions can be compared; what
    else there is keeps its path below ``payload/``. Without such a folder ``src/`` is the whole payload.
    """
    names = sorted(paths)
    parts = [name.split("/") for name in names]
    roots = {part[2] for part in parts if tuple(part[:2]) == _DIRS and len(part) > 3}  # noqa: PLR2004 - a file in it
    if len(roots) != 1:
        return "", {name: SOURCES + name for name in names}
    root = "/".join([*_DIRS, *roots]) + "/"
    return root, {
        name: SOURCES + name.removeprefix(root) if name.startswith(root) else PAYLOAD + name for name in names
    }


def is_unsafe(path: str) -> bool:
    """Whether a path would be, to some git, that of a repository's own files."""
    return any(re.sub(r"[.\s]+$", "", re.sub("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]", "", part)).casefold()
               in (".git", "git~1") for part in path.replace("\\", "/").split("/"))


def checksum_line(sha256: str, name: str) -> bytes:
    """The content of ``<name>.sha256``, as ``sha256sum --check`` reads it."""
    return f"{sha256}  {name}\n".encode()


def parse_checksum(data: bytes, name: str) -> str | None:
    """The hex SHA-256 in ``<name>.sha256``; None when it is not exactly what `checksum_line` writes."""
    match = _CHECKSUM.fullmatch(data.decode("utf-8", "replace"))
    return match[1] if match and match[2] == name else None


def version_message(package: Package, said: Said) -> bytes:
    """The message of a version's commit. What is not known says so."""
    lines = [
        subject_of(package), "",
        *_fields((
            ("Source code extracted from file", said.file_name), (REPOSITORY, said.repository),
            ("Package", package.name), ("Version", package.version), ("Release", package.release),
            ("Architecture", package.arch), ("License", package.license), ("Summary", package.summary),
            ("Description", package.description), (FILE_NAME, said.file_name), (LOCATION, said.location),
            ("Checksum", f"sha256:{said.sha256}"), ("Content checksum", f"sha256:{package.content_sha256}"),
            ("Buildhost", package.build_host), ("Buildtime", time_of(package.build_time or None)),
            ("GPG key primary uid", said.key_uid), ("GPG key creation time", time_of(said.key_created)),
            ("GPG key fingerprint", said.fingerprint), ("GPG check", OK),
            ("SHA256 check", OK if said.listed else NO_LIST),
            ("Sources from", said.root or "the whole payload"), ("Archived by", said.keeper),
            ("Tree", f"sha256:{said.tree}"),
        )), "",
        *_notes(said.notes), "",
        *_files(said.changed),
    ]
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class Update:
    """What a commit on the branch says: `what` of the archive is new in it; the other fields as in `Said`."""

    what: Sequence[str]
    revision: str
    newest: str
    versions: int
    when: int
    keeper: str
    tree: str
    changed: Sequence[tuple[str, str]]


def update_message(update: Update) -> bytes:
    """The message of a commit on the branch, which is dated like the newest package that is known."""
    lines = [
        f"Archive: {', '.join(update.what) or 'nothing new'}", "",
        *_fields((
            ("Revision of the metadata", update.revision), ("Newest version", update.newest),
            ("Versions", str(update.versions)), ("Dated", time_of(update.when)), ("Archived by", update.keeper),
            ("Tree", f"sha256:{update.tree}"),
        )), "",
        *_files(update.changed),
    ]
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def parse_fields(message: bytes) -> dict[str, str]:
    """The fields of a message by name, each as its text; what has no such form is left out."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in message.decode("utf-8", "surrogateescape").split("\n")[1:]:
        head, colon, rest = line.partition(":")
        if line.startswith("  ") and name:
            found[name].append(line[2:])
        elif not line:
            if name:
                found[name].append("")
        elif colon and head[:1].isupper() and head not in found:
            name = head
            found[name] = [rest.strip()]
        else:
            name = ""
    return {name: "\n".join(lines).strip("\n") for name, lines in found.items()}


def subjects(paths: Iterable[str]) -> list[str]:
    """What changed on the branch, in words, from the paths that did."""
    found = {_kind(path) for path in paths}
    return [word for word in ("sources", "packages", "metadata", "public key", "release notes", "licences") if
            word in found]


def time_of(seconds: int | None) -> str:
    """A time as people and machines read it; what is not known says so."""
    return UNKNOWN if seconds is None else utc(seconds)


def _kind(path: str) -> str:
    if path.startswith((SOURCES, PAYLOAD)):
        return "sources"
    if path.startswith(RPMS):
        return "packages"
    if path.startswith(f"archive/{NOTES}"):
        return "release notes"
    if path.startswith("archive/"):
        return "public key" if path.startswith("archive/key.") else "metadata"
    return "licences"


def _notes(notes: str | None) -> list[str]:
    first, *more = _fields(((_NOTES, f".\n{notes}"),)) if notes else [f"{_NOTES}: {UNKNOWN}"]
    return [first.removesuffix(" ."), *more]


def _fields(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """``Name: text``; the further lines of a text are moved in by two blanks."""
    lines = []
    for name, value in pairs:
        text = "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in _plain(value))
        first, *more = text.strip().split("\n")
        lines += [f"{name}: {first or UNKNOWN}", *(f"  {line.rstrip()}".rstrip() for line in more)]
    return lines


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n").expandtabs()


def _files(changed: Sequence[tuple[str, str]]) -> list[str]:
    return ["Files:", *(f"  {letter} {path}" for letter, path in changed)] if changed else ["Files: none changed"]


def reuse_toml(annotations: Sequence[tuple[Sequence[str], str, str]]) -> bytes:
    """``REUSE.toml`` (REUSE 3.3): paths, copyright and SPDX licence of each group; the last that fits counts."""
    groups = [
        f'\n[[annotations]]\npath = [{", ".join(_quoted(path) for path in paths)}]\nprecedence = "override"\n'
        f"SPDX-FileCopyrightText = {_quoted(holder)}\nSPDX-License-Identifier = {_quoted(license)}\n"
        for paths, holder, license in annotations
    ]
    return "".join(["version = 1\n", *groups]).encode()


def readme(title: str, fingerprint: str, facts: Mapping[str, str]) -> bytes:
    """The words that greet a visitor of the archive."""
    lines = [
        f"# {title}: archive of sources", "",
        "Every version of the package as its vendor published it: verified and unpacked, a commit and a tag each.", "",
        *(f"- {name}: {value}" for name, value in facts.items()),
        f"- packages are signed by the key `{fingerprint}`", "",
        "| | |", "|---|---|",
        "| `src/` | the sources of the newest version; of another one: its tag |",
        "| `payload/` | what the package holds besides, if anything |",
        "| `archive/rpm/` | the packages, with checksums |",
        "| `archive/` | the repository's metadata and public key, release notes |", "",
        "A tag's message says where the package came from, who signed it, and what changed.",
        "Made by kmod-foundry (`doit archive`), which proves it, too: `doit archive:verify`.",
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def repositories_of(readme: str) -> list[str]:
    """The repository's addresses in such words."""
    return re.findall(r"^- repository: <(.*)>$", readme, re.MULTILINE)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
