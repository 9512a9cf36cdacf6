"""Kernel modules: what an ELF file says about itself to the kernel that loads it.

Sources of the facts: kernel/module/ and scripts/mod/modpost.c in the kernel.
"""

from __future__ import annotations

import io
import mmap
import os
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from foundry.base.errors import FoundryError
from foundry.base.files import open_file
from foundry.base.reasons import Reason
from foundry.formats.modules.signature import MARK
from foundry.formats.trees import decompress
from foundry.formats.trees.budget import Budget

COMPRESSED = ("", ".xz", ".zst", ".gz")  # what may follow a module's name (kernel, scripts/Makefile.modinst)
_CHUNK = 1 << 18
_SYMTAB = ".symtab"
_KSYMTAB = "__ksymtab_"
_VERSION_ENTRY = 64  # bytes: an unsigned long, then the name, filled up with zeros
_IGNORED_IMPORTS = frozenset({"_GLOBAL_OFFSET_TABLE_"})  # the kernel ignores it, too
_MOST_SECTIONS = 0xFF00  # SHN_LORESERVE: the kernel reads no further
_MOST_READS = 4_000_000  # of a symbol, and of 64 bytes of a name: a module of 100,000 symbols takes a tenth
_LARGEST_SECTION = 16 << 20  # bytes of a section that is read whole
_SECTIONS = (".modinfo", "__versions", "__version_ext_crcs", "__version_ext_names")
_ALLOC = 2  # SHF_ALLOC: the kernel passes over sections without it, depmod does not
_FREE_TEXTS = frozenset({"author", "description", "license", "parm", "version"})  # for people, who write lines
_SHOWN = 80
_MACHINES = {
    ("EM_X86_64", True): "x86_64",
    ("EM_AARCH64", True): "aarch64",
    ("EM_PPC64", True): "ppc64le",
    ("EM_S390", False): "s390x",
}
_PCI = re.compile(r"pci:v0000([0-9A-F]{4})d0000([0-9A-F]{4})sv")


@dataclass(frozen=True)
class ModuleFacts:
    """What a module says; symbols are sorted, `modinfo` is in the file's order. `exports` are for other modules.

    `machine` is what ``uname -m`` says on the machines that the module is for,
    or ELF's own name for it. `name` and `vermagic` are empty when missing.
    `versions` holds CRCs by symbol and is empty without modversions.
    """

    machine: str
    modinfo: tuple[tuple[str, str], ...]
    imports: tuple[str, ...]
    weak_imports: tuple[str, ...]
    versions: Mapping[str, int]
    signed: bool
    exports: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The module's name, as `lsmod` shows it."""
        return self.first("name")

    @property
    def vermagic(self) -> str:
        """The kernel that it was compiled for, then that kernel's settings."""
        return self.first("vermagic")

    @property
    def firmware(self) -> tuple[str, ...]:
        """The firmware files that it asks for, relative to the firmware folder."""
        return self.all("firmware")

    @property
    def pci_devices(self) -> tuple[str, ...]:
        """The PCI devices that it binds by vendor and device, as ``1d0f:7164``: of its aliases (file2alias.c)."""
        found = (_PCI.match(alias) for alias in self.all("alias"))
        return tuple(sorted({f"{one[1]}:{one[2]}".lower() for one in found if one}))

    @property
    def aliases(self) -> int:
        """How many patterns of devices it is for."""
        return len(self.all("alias"))

    def first(self, key: str) -> str:
        """The first value of a modinfo key, which is the one that the kernel reads; empty when missing."""
        return next(iter(self.all(key)), "")

    def all(self, key: str) -> tuple[str, ...]:
        """Every value of a modinfo key."""
        return tuple(value for name, value in self.modinfo if name == key)


def read_module(path: Path) -> ModuleFacts:
    """The facts of a module file.

    Raises FoundryError (``gate-elf``) when the file can't be read or
    is anything but an uncompressed kernel module.
    """
    try:
        with open_file(path) as stream:
            if not os.fstat(stream.fileno()).st_size:
                return parse_module(b"", path.name)
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return parse_module(data, path.name)
    except OSError as error:
        raise not_a_module(f"{path.name} can't be read: {error.strerror}") from error


def parse_module(data: bytes | mmap.mmap, label: str = "the file") -> ModuleFacts:
    """The facts of a module's bytes, of which no more are read than they take; raises like `read_module`."""
    machine, little, wide, sections, undefined, exported = _elf(data, label)
    if not sections.pop(_SYMTAB, b""):
        raise not_a_module(f"{label} has no symbols: it was stripped too far")
    if ".modinfo" not in sections:
        raise not_a_module(f"{label} is an object file but no kernel module: it has no .modinfo section")
    modinfo = tuple(_modinfo(sections[".modinfo"]))
    for key, value in modinfo:  # depmod writes it into modprobe's configuration as it is, a line each
        if key not in _FREE_TEXTS and (not value.isprintable() or value.endswith("\\")):
            raise not_a_module(f"{label} says {key[:_SHOWN]!r} of itself in more than one line: {value[:_SHOWN]!r}")
    if name := next((name for name in exported if not name.isprintable()), ""):
        raise not_a_module(f"{label} exports a symbol that is called {name[:_SHOWN]!r}")
    return ModuleFacts(
        machine=machine,
        modinfo=modinfo,
        imports=_names(undefined, weak=False),
        weak_imports=_names(undefined, weak=True),
        versions=_versions(sections, little, wide, label),
        signed=data[-len(MARK):] == MARK,
        exports=tuple(sorted(set(exported))),
    )


def uncompress(path: Path, limit: int) -> None:
    """Decompress a module file where it is, if it is compressed. FoundryError (``gate-elf``) beyond `limit` bytes."""
    with open_file(path) as stream:
        kind = decompress.kind_of(stream.read(decompress.MAGIC))
    if kind == "none":
        return
    budget = Budget(path.name, Reason.GATE_ELF, Reason.GATE_ELF, limit)
    plain = path.with_name(f"{path.name}.plain")
    with open_file(path) as stream, plain.open("wb") as sink:
        for piece in decompress.pieces(iter(lambda: stream.read(_CHUNK), b""), kind, budget):
            sink.write(piece)
    plain.replace(path)


def is_signed(path: Path) -> bool:
    """Whether a signature is appended to a module file."""
    with open_file(path) as stream:
        stream.seek(-min(len(MARK), path.stat().st_size), 2)
        return stream.read() == MARK


def not_a_module(message: str) -> FoundryError:
    """The error for a file that is no kernel module."""
    return FoundryError(message, reason=Reason.GATE_ELF, hint="the build log says what was made in its place")


def _elf(
    data: bytes | mmap.mmap, label: str
) -> tuple[str, bool, bool, dict[str, bytes], list[tuple[str, str]], list[str]]:
    """Machine, is it little-endian, is it 64 bits wide, wanted sections, undefined (symbol, binding), exported."""
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    if data[:4] != b"\x7fELF":
        raise not_a_module(f"{label} is no ELF file")
    try:
        file = ELFFile(cast(IO[bytes], _Budgeted(data)))
        if file.num_sections() > _MOST_SECTIONS:
            raise ValueError("more sections than a module may have")
        kind = file["e_type"]
        machine = _MACHINES.get((file["e_machine"], file.little_endian), str(file["e_machine"]))
        sections: dict[str, bytes] = {}
        undefined: list[tuple[str, str]] = []
        exported: list[str] = []
        for section in file.iter_sections():
            if section.name in _SECTIONS:
                if section.name in sections or not section["sh_flags"] & _ALLOC:
                    raise ValueError(f"section {section.name} is there twice, or the kernel would not read it")
                sections[section.name] = _content(data, section)
            if isinstance(section, SymbolTableSection) and section["sh_type"] == "SHT_SYMTAB":
                sections[_SYMTAB] = b"there"
                undefined += _undefined(section)
                exported += _exported(section)
        little, wide = bool(file.little_endian), file.elfclass == 64  # noqa: PLR2004
    except Exception as error:  # pyelftools lets many kinds out when a file is damaged
        raise not_a_module(f"{label} is a damaged ELF file: {error or type(error).__name__}") from error
    if kind != "ET_REL":
        raise not_a_module(f"{label} is an ELF file but no relocatable object: {kind}")
    return machine, little, wide, sections, undefined, exported


class _Budgeted:
    """A file that may be read so often: tables and names may overlap, and be read without end."""

    left = _MOST_READS

    def __init__(self, data: bytes | mmap.mmap) -> None:
        self.stream = io.BytesIO(data) if isinstance(data, bytes) else data
        self.seek, self.tell = self.stream.seek, self.stream.tell

    def read(self, size: int = -1) -> bytes:
        """The next bytes, none of which pyelftools wants many of at once."""
        self.left -= 1
        if self.left < 0 or not 0 <= size <= _LARGEST_SECTION:
            raise ValueError("more symbols, or longer names, than a module has")
        return self.stream.read(size)


def _content(data: bytes | mmap.mmap, section: Any) -> bytes:
    start, size = int(section["sh_offset"]), int(section["sh_size"])
    if size > _LARGEST_SECTION:
        raise ValueError(f"section {section.name} has {size} bytes")
    if start + size > len(data):
        raise ValueError(f"section {section.name} ends behind the end of the file")
    return data[start:start + size]


def _exported(table: Any) -> Iterator[str]:
    """EXPORT_SYMBOL leaves an entry ``__ksymtab_<symbol>`` (kernel, include/linux/export.h)."""
    for symbol in table.iter_symbols():
        if symbol["st_shndx"] != "SHN_UNDEF" and symbol.name.startswith(_KSYMTAB):
            yield str(symbol.name).removeprefix(_KSYMTAB)


def _undefined(table: Any) -> Iterator[tuple[str, str]]:
    for symbol in table.iter_symbols():
        if symbol["st_shndx"] == "SHN_UNDEF" and symbol.name:
            yield str(symbol.name), str(symbol["st_info"]["bind"])


def _names(undefined: list[tuple[str, str]], *, weak: bool) -> tuple[str, ...]:
    """As the kernel takes them (simplify_symbols): what is not weak must be there, whatever its binding is called."""
    return tuple(sorted({name for name, bound in undefined if (bound == "STB_WEAK") == weak} - _IGNORED_IMPORTS))


def _modinfo(data: bytes) -> Iterator[tuple[str, str]]:
    for entry in data.split(b"\0"):
        key, equals, value = entry.decode(errors="replace").partition("=")
        if equals:
            yield key, value


def _versions(sections: Mapping[str, bytes], little: bool, wide: bool, label: str) -> dict[str, int]:
    """CRCs by symbol; of several entries for one symbol the first counts, as for the kernel.

    From 6.14 on a kernel reads the sections with long names if there are such, older ones the other: both must agree.
    """
    versions: dict[str, int] = {}
    order = "<" if little else ">"
    data = sections.get("__versions", b"")
    crc_format = order + ("Q" if wide else "I")
    crc_size = struct.calcsize(crc_format)
    if len(data) % _VERSION_ENTRY:
        raise not_a_module(f"{label} has a damaged __versions section: {len(data)} bytes")
    for start in range(0, len(data), _VERSION_ENTRY):
        (crc,) = struct.unpack_from(crc_format, data, start)
        name = data[start + crc_size:start + _VERSION_ENTRY].split(b"\0", 1)[0]
        versions.setdefault(name.decode(errors="replace"), crc)
    # From Linux 6.14 on names may be longer: two sections, 4-byte CRCs and names that end with a zero.
    crcs = sections.get("__version_ext_crcs", b"")
    names = sections.get("__version_ext_names", b"").split(b"\0")
    if len(crcs) % 4 or len(crcs) // 4 > len(names):
        raise not_a_module(f"{label} has damaged __version_ext sections")
    long: dict[str, int] = {}
    for (crc,), name in zip(struct.iter_unpack(order + "I", crcs), names, strict=False):
        long.setdefault(name.decode(errors="replace"), crc)
    if other := next((name for name in long.keys() & versions.keys() if long[name] != versions[name]), ""):
        raise not_a_module(f"{label} says two versions of {other[:_SHOWN]!r}")
    return {**versions, **long}
