"""Files of Debian's kernel sources, by Debian's own chain: InRelease, signed → Packages.xz → the package by SHA-256."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from foundry.base.errors import FoundryError, OutsideError
from foundry.base.files import scratch
from foundry.base.process import run
from foundry.base.reasons import Reason
from foundry.formats.packages.deb import parse_deb
from foundry.formats.trees.budget import Budget
from foundry.formats.trees.decompress import kind_of, pieces
from foundry.formats.trees.tarstream import Kind, TarStream
from foundry.formats.trees.tree import safe_name
from foundry.packages import apt
from foundry.sandbox.debian import SUITE

_ARCHIVE = "apt://debian"  # this machine's
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_MAX_OPEN_INDEX, _MAX_UNPACKED = 512 << 20, 8 << 30  # bytes


@dataclass(frozen=True)
class SourcePackage:
    """A package of Debian's archive: its version, its address, the SHA-256 of the file."""

    name: str
    version: str
    url: str
    sha256: str


def find_package(name: str, folder: Path, log: Path) -> SourcePackage:
    """What Debian's archive offers under a name; `folder` takes temporary files.

    Raises OutsideError where the archive's keys are missing, it can't be reached or did not sign what it offers.
    """
    if not _KEYRING.exists():
        raise OutsideError("Debian's archive keys are not installed", reason=Reason.TOOL_MISSING,
                           hint="apt-get install debian-archive-keyring")
    base = f"{_ARCHIVE}/dists/{SUITE}"
    with scratch(folder, "archive") as work:
        signed, plain = work / "InRelease", work / "Release"
        apt.download(f"{base}/InRelease", signed, log)
        run(["gpgv", "--quiet", "--keyring", str(_KEYRING), "--output", str(plain), str(signed)], log=log,
            reason=Reason.DEBIAN_UNREACHABLE, hint="the archive's signature is not Debian's: is a proxy in the way?")
        index = "main/binary-all/Packages.xz", "main/binary-amd64/Packages.xz"
        for part in index:
            listed = re.search(rf"^ ([0-9a-f]{{64}}) +[0-9]+ {re.escape(part)}$", plain.read_text(), re.MULTILINE)
            if listed is None:
                continue
            apt.download(f"{base}/{part}", work / "index", log, sha256=listed.group(1))
            budget = Budget(f"{base}/{part}", Reason.DEBIAN_UNREACHABLE, Reason.DEBIAN_UNREACHABLE, _MAX_OPEN_INDEX)
            plain_index = b"".join(pieces(iter([(work / "index").read_bytes()]), "xz", budget))
            found = _stanza(plain_index.decode(errors="replace"), name)
            if found is not None:
                return found
    raise OutsideError(f"Debian's archive offers no {name}", reason=Reason.DEBIAN_UNREACHABLE, log=log)


def extract(package: SourcePackage, folders: tuple[str, ...], dest: Path, log: Path) -> None:
    """Write the files of these folders of the kernel's tree below `dest`, without the tree's own folder."""
    with scratch(dest.parent, "package") as work:
        file = work / "package.deb"
        apt.download(package.url, file, log, sha256=package.sha256)
        budget = Budget(package.name, Reason.SANDBOX_SOURCE, Reason.SANDBOX_SOURCE, _MAX_UNPACKED)
        payload = parse_deb(file.read_bytes()).payload
        outer = TarStream(pieces(iter([payload]), kind_of(bytes(payload[:8])), budget), budget)
        for member in outer:
            if member.name.endswith(b".tar.xz"):
                _take(TarStream(pieces(outer.chunks(), "xz", budget), budget), folders, dest)
    missing = [name for name in folders if not (dest / name).exists()]
    if missing:
        raise FoundryError(f"{package.name} {package.version} has no {missing[0]}", reason=Reason.SANDBOX_SOURCE)


def _take(tree: TarStream, folders: tuple[str, ...], dest: Path) -> None:
    for member in tree:
        name = member.name.decode(errors="replace").partition("/")[2]
        if member.kind is Kind.FILE and name.startswith(tuple(f"{folder}/" for folder in folders)):
            (dest / safe_name(name)).parent.mkdir(parents=True, exist_ok=True)
            (dest / name).write_bytes(tree.read())


def _stanza(text: str, name: str) -> SourcePackage | None:
    for stanza in _stanzas(text, name):
        fields = dict(re.findall(r"^([A-Za-z0-9-]+): (.*)$", stanza, re.MULTILINE))
        return SourcePackage(name, fields["Version"], f"{_ARCHIVE}/{fields['Filename']}", fields["SHA256"])
    return None


def _stanzas(text: str, name: str) -> Iterator[str]:
    start = f"Package: {name}\n"
    at = 0 if text.startswith(start) else text.find("\n" + start)
    if at >= 0:
        yield text[at:].lstrip("\n").partition("\n\n")[0]
