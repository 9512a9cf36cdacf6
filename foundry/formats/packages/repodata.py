"""YUM repository metadata: ``repomd.xml`` and the primary list.

``repomd.xml`` names the other files with digest and size; the primary list
holds one ``package`` element for each RPM (createrepo_c, src/xml_dump_primary.c).
Documents with a DOCTYPE are refused: no metadata has one, and entities need one.
A package whose element makes no sense is an error only for those who want it: `RepoPackage.fault`.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING
from urllib.parse import unquote, urljoin
from xml.parsers import expat

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.formats.trees import decompress
from foundry.formats.trees.budget import Budget

if TYPE_CHECKING:
    from _typeshed import SupportsRead

PRIMARY = "primary"
LISTS = (PRIMARY, "filelists", "other")
MAX_REPOMD = 4 << 20  # bytes
MAX_PRIMARY = 64 << 20  # bytes as sent
MAX_PRIMARY_OPEN = 512 << 20  # bytes once decompressed
_CHUNK = 1 << 18
_MAX_TEXT = 1 << 16  # characters that are kept of one element's text
_LONGEST = 200  # characters of a name, a version, a release
_MAX_TOKEN = 2 << 20  # bytes of a tag or comment; a package's have 200
_MAX_DEPTH = 16  # elements in each other; a list has 5
_MAX_CHILDREN = 100  # kinds of elements in a package; there are 12
_MAX_PACKAGES = 500_000  # Fedora has 70,000
_XML_BASE = "http://www.w3.org/XML/1998/namespace base"
_ZCHUNK = b"\0ZCK1"
_hex = re.compile(r"[0-9a-f]+")
_number = re.compile(r"[0-9]{1,15}")
_scheme = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_html = re.compile(rb"\s*(?:<!--(?:(?!-->).)*-->\s*)*<(!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL)


# What repositories call a checksum (createrepo_c, src/checksum.c), and hashlib. `sha` is what there was before SHA-2.
_CHECKSUMS = {"md5": "md5", "sha": "sha1", "sha1": "sha1", "sha224": "sha224", "sha256": "sha256", "sha384": "sha384",
              "sha512": "sha512"}
_WEAK = ("md5", "sha1")  # two files with the same one can be made


@dataclass(frozen=True)
class Checksum:
    """A checksum of a file: its kind, as hashlib calls it, and the hex digest."""

    kind: str
    digest: str

    @property
    def weak(self) -> str:
        """The kind, where it proves nothing about who made the file; else empty."""
        return self.kind if self.kind in _WEAK else ""

    def begin(self) -> hashlib._Hash:
        """What to feed the file to."""
        return hashlib.new(self.kind, usedforsecurity=False)

    def fits(self, data: bytes) -> bool:
        """Whether it is that of `data`."""
        found = self.begin()
        found.update(data)
        return found.hexdigest() == self.digest

    def __str__(self) -> str:
        return f"{self.kind}:{self.digest}"


@dataclass(frozen=True)
class Location:
    """A file of the repository: path relative to its root, checksum and bytes, as sent and decompressed."""

    href: str
    checksum: Checksum
    size: int | None
    open_size: int | None
    open_checksum: Checksum | None


@dataclass(frozen=True)
class Repomd:
    """What ``repomd.xml`` says: its revision (often seconds since 1970) and where its lists are, by type."""

    revision: str
    primary: Location
    lists: Mapping[str, Location] = field(hash=False)


@dataclass(frozen=True)
class RepoPackage:
    """One RPM of a repository; `size` in bytes, `build_time` in seconds since 1970.

    `href` is where the file is. Its name need not agree with name and version, which are the header's.
    `weak` names a checksum between ``repomd.xml`` and the file that proves nothing; `fault` says why the
    package can't be had, and then nothing but its name, version, release and architecture is known.
    """

    name: str
    epoch: int
    version: str
    release: str
    arch: str
    href: str
    checksum: Checksum
    size: int
    build_time: int
    weak: str = ""
    fault: str = ""


def parse_repomd(data: bytes, kinds: Sequence[str] = (PRIMARY,), root: str = "") -> Repomd:
    """The parsed ``repomd.xml``; FoundryError (``repodata-malformed``) when it is something else.

    Of its lists those of `kinds` are looked at. `root` is the repository's address, for what names its place in full.
    ``repodata-unsupported`` where it has no primary list in XML, or a checksum of a kind that is not known.
    """
    tables: list[_Element] = []
    revisions: list[str] = []
    others: set[str] = set()

    def take(element: _Element) -> None:
        if element.name == "data":
            kind = element.attributes.get("type", "")
            if kind in kinds:
                tables.append(element)
            elif kind.startswith(f"{PRIMARY}_"):  # primary_db, primary_zck: the same list in another form
                others.add(kind[:_LONGEST])
        elif element.name == "revision":
            revisions.append(element.text.strip())

    _walk(data, "repomd", take, "repomd.xml")
    for name in kinds:
        count = sum(table.attributes["type"] == name for table in tables)
        if count == 0 and name == PRIMARY and others:
            raise unsupported(f"repomd.xml names the list of packages as {', '.join(sorted(others))} alone, not as XML")
        if count > 1 or (count == 0 and name == PRIMARY):
            raise malformed(f"repomd.xml names {count} {name} lists instead of one")
    lists = {table.attributes["type"]: _location(table, root) for table in tables}
    return Repomd(revisions[0] if revisions else "", lists[PRIMARY], lists)


def parse_primary(data: bytes | SupportsRead[bytes], root: str = "") -> tuple[RepoPackage, ...]:
    """All packages of a decompressed primary list, in its order; a stream is read piece by piece. `root` as above.

    Raises FoundryError ``repodata-malformed``.
    """
    packages: list[RepoPackage] = []

    def take(element: _Element) -> None:
        if element.name == "package" and element.attributes.get("type") == "rpm":
            packages.append(_package(element, root))
            if len(packages) > _MAX_PACKAGES:
                raise malformed(f"the primary list has more than {_MAX_PACKAGES} packages")

    _walk(data, "metadata", take, "the primary list")
    return tuple(packages)


def open_primary(data: bytes, location: Location) -> IO[bytes]:
    """A stream of a decompressed primary list.

    Reading it ends in FoundryError ``repodata-too-large`` after what `location` announces,
    and in any case after `MAX_PRIMARY_OPEN` bytes.
    """
    if data.startswith(_ZCHUNK):
        raise unsupported("the primary list is compressed with zchunk")
    limit = min(MAX_PRIMARY_OPEN if location.open_size is None else location.open_size, MAX_PRIMARY_OPEN)
    budget = Budget("the primary list", Reason.REPODATA_MALFORMED, Reason.REPODATA_TOO_LARGE, limit)
    return decompress.opened(data, decompress.kind_of(data), budget)


def malformed(why: str) -> FoundryError:
    """The error for a document that is no repository metadata."""
    return FoundryError(why,
                        reason=Reason.REPODATA_MALFORMED, hint="check the repository's address in the driver's file")


def unsupported(why: str) -> FoundryError:
    """The error for metadata of a form that is not read here."""
    return FoundryError(why, reason=Reason.REPODATA_UNSUPPORTED,
                        hint="ask the vendor for metadata as createrepo_c makes them, or name the file: `download`")


class _Element:
    """A child of the root, with the first of each of its own children."""

    def __init__(self, name: str, attributes: Mapping[str, str]) -> None:
        self.name, self.attributes = name, attributes
        self.children: dict[str, _Element] = {}
        self.parts: list[str] = []
        self.size = 0

    def add(self, part: str) -> None:
        if kept := part[:_MAX_TEXT - self.size]:
            self.parts.append(kept)
            self.size += len(kept)

    @property
    def text(self) -> str:
        return "".join(self.parts)

    def child(self, name: str) -> _Element:
        if name not in self.children:
            raise malformed(f"the repository's metadata has a {self.name} without {name}")
        return self.children[name]


def _walk(data: bytes | SupportsRead[bytes], root: str, take: Callable[[_Element], None], what: str) -> None:
    """Parse a document and hand over each finished child of its root element."""
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    stack: list[_Element] = []
    stream = io.BytesIO(data) if isinstance(data, bytes) else data
    begin, fed = b"", 0

    def start(full: str, attributes: dict[str, str]) -> None:
        name = full.rpartition(" ")[2]
        if not stack and name != root:
            raise malformed(f"{what} is {_kind(name)}, not a {root} document")
        element = _Element(name, attributes)
        if len(stack) == 2:  # noqa: PLR2004 - root, child, and this one
            stack[1].children.setdefault(name, element)
        stack.append(element)
        if len(stack) > _MAX_DEPTH or len(stack[1:2] and stack[1].children) > _MAX_CHILDREN:
            raise malformed(f"{what} has elements that no such document has")

    def end(_: str) -> None:
        element = stack.pop()
        if len(stack) == 1:
            take(element)

    def text(part: str) -> None:
        if len(stack) in (2, 3):
            stack[-1].add(part)

    def doctype(name: str, *_: object) -> None:
        raise malformed(f"{what} is {_kind(name)}: it has a DOCTYPE")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = text, doctype
    try:
        while chunk := stream.read(_CHUNK):
            begin = begin or chunk[:1000]
            fed += len(chunk)
            parser.Parse(chunk, False)
            if fed - parser.CurrentByteIndex > _MAX_TOKEN:  # expat looks at all of it again with each chunk
                raise malformed(f"{what} has a tag or comment that is too long")
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        kind = "an HTML page" if _html.match(begin) else f"damaged ({error})"
        raise malformed(f"{what} is {kind}") from error
    except (ValueError, LookupError) as error:  # an encoding that Python does not know
        raise malformed(f"{what} can't be read: {error}") from error


def _kind(root: str) -> str:
    return "an HTML page" if root.lower() == "html" else f"XML with the root {root[:40]!r}"


def _package(element: _Element, root: str) -> RepoPackage:
    """The package; one with `fault` where its element makes no sense."""
    version = element.children.get("version", _Element("version", {})).attributes
    name, arch, number, release = (
        text if len(text) <= _LONGEST else ""
        for text in (_text(element, "name"), _text(element, "arch"), version.get("ver", ""), version.get("rel", ""))
    )
    try:
        if not (name and arch and number):
            raise malformed(f"it has no name, arch or version of at most {_LONGEST} characters")
        checksum = _checksum(element.child("checksum"))
        return RepoPackage(
            name=name, epoch=_integer(element.child("version"), "epoch", "0"), version=number, release=release,
            arch=arch, href=_href(element, root), checksum=checksum,
            size=_integer(element.child("size"), "package", None),
            build_time=_integer(element.child("time"), "build", "0"), weak=checksum.weak,
        )
    except FoundryError as error:
        return RepoPackage(name, 0, number, release, arch, "", Checksum("", ""), 0, 0, fault=error.message)


def _text(element: _Element, name: str) -> str:
    return element.children[name].text if name in element.children else ""


def _location(table: _Element, root: str) -> Location:
    opened = table.children.get("open-checksum")
    return Location(
        href=_href(table, root), checksum=_checksum(table.child("checksum")), size=_optional(table, "size"),
        open_size=_optional(table, "open-size"), open_checksum=_checksum(opened) if opened else None,
    )


def _integer(element: _Element, name: str, missing: str | None) -> int:
    text = element.attributes.get(name, missing) or ""
    if not _number.fullmatch(text):
        raise malformed(f"the repository's metadata has a {element.name} with {name}={text[:40]!r}")
    return int(text)


def _optional(element: _Element, name: str) -> int | None:
    if name not in element.children:
        return None
    text = element.children[name].text.strip()
    if not _number.fullmatch(text):
        raise malformed(f"the repository's metadata has the {name} {text[:40]!r}")
    return int(text)


def _checksum(element: _Element) -> Checksum:
    kind, text = element.attributes.get("type", ""), element.text.strip().lower()
    if kind.lower() not in _CHECKSUMS:
        raise unsupported(f"the repository's metadata has a checksum of an unknown kind: {kind[:20]!r}")
    found = Checksum(_CHECKSUMS[kind.lower()], text)
    if len(text) != 2 * found.begin().digest_size or not _hex.fullmatch(text):
        raise malformed(f"the repository's metadata has a checksum that is no {kind}: {text[:70]!r}")
    return found


def _href(element: _Element, root: str) -> str:
    """The place of a file below the repository's root; a place elsewhere is refused.

    What ``xml:base`` says may be the repository's own address, in full (`root`, by http or https), or a folder of it.
    """
    location = element.child("location")
    href = location.attributes.get("href", "")
    base = location.attributes.get(_XML_BASE, "")
    place = _below(base, root) + href
    plain = unquote(place, errors="replace")
    if (
        _scheme.match(plain)
        or any(part in ("", ".", "..") for part in plain.split("/"))
        or any(sign in place for sign in "\\?#")
        or "\\" in plain
        or not plain.isprintable()
    ):
        raise malformed(f"the repository's metadata names a file outside of it: {href[:200]!r}"
                        + (f", with xml:base={base[:200]!r}" if base else ""))
    return place


def _below(base: str, root: str) -> str:
    """An ``xml:base`` as a folder below the root, with a slash at its end; itself where it is no such folder.

    Without a root nothing is known of addresses, and one in full counts as the root's.
    """
    if not base or (not root and _scheme.match(base)):
        return ""
    own = f"{root.rstrip('/')}/"
    try:
        folder = f"{urljoin(own, base).rstrip('/')}/"
    except ValueError:
        return base
    mine, theirs = (text.removeprefix("https:").removeprefix("http:") for text in (own, folder))
    return theirs.removeprefix(mine) if root else folder.removeprefix("./")
