"""YUM repository metadata: ``repomd.xml`` and the primary list.

``repomd.xml`` names the other files with digest and size; the primary list
holds one ``package`` element for each RPM (createrepo_c, src/xml_dump_primary.c).
Documents with a DOCTYPE are refused: no metadata has one, and entities need one.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING
from urllib.parse import unquote
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
_MAX_TEXT = 1 << 20  # bytes of one element's text
_LONGEST = 200  # characters of a name, a version, a release
_MAX_TOKEN = 2 << 20  # bytes of a tag or comment; a package's have 200
_MAX_DEPTH = 16  # elements in each other; a list has 5
_MAX_CHILDREN = 100  # kinds of elements in a package; there are 12
_MAX_PACKAGES = 500_000  # Fedora has 70,000
_XML_BASE = "http://www.w3.org/XML/1998/namespace base"
_sha256 = re.compile(r"[0-9a-f]{64}")
_number = re.compile(r"[0-9]{1,15}")
_scheme = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_html = re.compile(rb"\s*(?:<!--(?:(?!-->).)*-->\s*)*<(!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Location:
    """A file of the repository: path relative to its root, hex SHA-256 and bytes, as sent and decompressed."""

    href: str
    sha256: str
    size: int | None
    open_size: int | None
    open_sha256: str | None


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
    """

    name: str
    epoch: int
    version: str
    release: str
    arch: str
    href: str
    sha256: str
    size: int
    build_time: int


def parse_repomd(data: bytes, kinds: Sequence[str] = (PRIMARY,)) -> Repomd:
    """The parsed ``repomd.xml``; FoundryError (``repodata-malformed``) when it is something else.

    Of its lists those of `kinds` are looked at.
    """
    tables: list[_Element] = []
    revisions: list[str] = []

    def take(element: _Element) -> None:
        if element.name == "data" and element.attributes.get("type") in kinds:
            tables.append(element)
        elif element.name == "revision":
            revisions.append(element.text.strip())

    _walk(data, "repomd", take, "repomd.xml")
    for name in kinds:
        count = sum(table.attributes["type"] == name for table in tables)
        if count > 1 or (count == 0 and name == PRIMARY):
            raise malformed(f"repomd.xml names {count} {name} lists instead of one")
    lists = {table.attributes["type"]: _location(table) for table in tables}
    return Repomd(revisions[0] if revisions else "", lists[PRIMARY], lists)


def parse_primary(data: bytes | SupportsRead[bytes]) -> tuple[RepoPackage, ...]:
    """All packages of a decompressed primary list, in its order; a stream is read piece by piece.

    Raises FoundryError ``repodata-malformed``.
    """
    packages: list[RepoPackage] = []

    def take(element: _Element) -> None:
        if element.name == "package" and element.attributes.get("type") == "rpm":
            packages.append(_package(element))
            if len(packages) > _MAX_PACKAGES:
                raise malformed(f"the primary list has more than {_MAX_PACKAGES} packages")

    _walk(data, "metadata", take, "the primary list")
    return tuple(packages)


def open_primary(data: bytes, location: Location) -> IO[bytes]:
    """A stream of a decompressed primary list.

    Reading it ends in FoundryError ``repodata-too-large`` after what `location` announces,
    and in any case after `MAX_PRIMARY_OPEN` bytes.
    """
    limit = min(MAX_PRIMARY_OPEN if location.open_size is None else location.open_size, MAX_PRIMARY_OPEN)
    budget = Budget("the primary list", Reason.REPODATA_MALFORMED, Reason.REPODATA_TOO_LARGE, limit)
    return decompress.opened(data, decompress.kind_of(data), budget)


def malformed(why: str) -> FoundryError:
    """The error for a document that is no repository metadata."""
    return FoundryError(why,
                        reason=Reason.REPODATA_MALFORMED, hint="check the repository's address in the driver's file")


class _Element:
    """A child of the root, with the first of each of its own children."""

    def __init__(self, name: str, attributes: Mapping[str, str]) -> None:
        self.name, self.attributes = name, attributes
        self.children: dict[str, _Element] = {}
        self.parts: list[str] = []
        self.size = 0

    def add(self, part: str) -> None:
        self.parts.append(part)
        self.size += len(part)
        if self.size > _MAX_TEXT:
            raise malformed(f"the repository's metadata has a {self.name[:40]} that is too long")

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


def _package(element: _Element) -> RepoPackage:
    version, time, size = element.child("version"), element.child("time"), element.child("size")
    texts = (element.child("name").text, element.child("arch").text, *version.attributes.values())
    if any(len(text) > _LONGEST for text in texts):
        raise malformed(f"the repository's metadata names a package in more than {_LONGEST} characters")
    return RepoPackage(
        name=element.child("name").text,
        epoch=_integer(version, "epoch", "0"),
        version=version.attributes.get("ver", ""),
        release=version.attributes.get("rel", ""),
        arch=element.child("arch").text,
        href=_href(element),
        sha256=_checksum(element.child("checksum")),
        size=_integer(size, "package", None),
        build_time=_integer(time, "build", "0"),
    )


def _location(table: _Element) -> Location:
    opened = table.children.get("open-checksum")
    return Location(
        href=_href(table), sha256=_checksum(table.child("checksum")), size=_optional(table, "size"),
        open_size=_optional(table, "open-size"), open_sha256=_checksum(opened) if opened else None,
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


def _checksum(element: _Element) -> str:
    kind, text = element.attributes.get("type", ""), element.text.strip().lower()
    if kind != "sha256" or not _sha256.fullmatch(text):
        raise malformed(f"the repository's metadata has a checksum that is no SHA-256 ({kind[:20]} {text[:70]!r})")
    return text


def _href(element: _Element) -> str:
    """The place of a file below the repository's root; a place elsewhere is refused."""
    location = element.child("location")
    href = location.attributes.get("href", "")
    plain = unquote(href, errors="replace")
    if (
        _XML_BASE in location.attributes
        or _scheme.match(plain)
        or any(part in ("", ".", "..") for part in plain.split("/"))
        or any(sign in href for sign in "\\?#")
        or "\\" in plain
        or not plain.isprintable()
    ):
        raise malformed(f"the repository's metadata names a file outside of it: {href[:200]!r}")
    return href
