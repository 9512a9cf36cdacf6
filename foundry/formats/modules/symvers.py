"""`Module.symvers`: the symbols that a kernel or a module exports, with their CRCs.

One line a symbol, fields parted by tabs: CRC, symbol, module (``vmlinux`` or a
path without ``.ko``), kind of export, and from Linux 5.4 on the namespace,
which may be empty; 5.4 and 5.5 have it before the module.
(Source: Documentation/kbuild/modules.rst and scripts/mod/modpost.c in the kernel.)
A CRC of zero means that the kernel has no modversions or none for this symbol.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason

_CRC = re.compile(r"0x[0-9a-fA-F]{1,8}")
_VMLINUX = "vmlinux"
_KIND = re.compile(r"EXPORT_(UNUSED_)?SYMBOL(_GPL|_GPL_FUTURE)?")
_WORD = re.compile(r"\S+")
_OLD_FIELDS = 4
_SHOWN = 80


class Export(NamedTuple):
    """One exported symbol; `kind` is ``EXPORT_SYMBOL`` or ``EXPORT_SYMBOL_GPL``."""

    crc: int
    module: str
    kind: str
    namespace: str

    @property
    def owner(self) -> str:
        """The name of the module that exports it, as `lsmod` shows it; empty for what is built in."""
        return "" if self.module == _VMLINUX else module_name(self.module.rpartition("/")[2])

    @property
    def gpl_only(self) -> bool:
        """Whether modules under other licences don't get it."""
        return self.kind.endswith("_GPL")


def module_name(name: str) -> str:
    """A module's name as the kernel has it: what is called ``a-b.ko`` is ``a_b``."""
    return name.replace("-", "_")


def parse(data: bytes) -> Mapping[str, Export]:
    """The exports by symbol; an empty file has none.

    Raises FoundryError (``symvers-malformed``) when a line is not of the
    form above or a symbol is listed twice with different CRCs.
    """
    try:
        lines = data.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise _malformed("it is not plain text") from error
    exports: dict[str, Export] = {}
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        symbol, export = _line(number, line)
        known = exports.setdefault(symbol, export)
        if known.crc != export.crc:
            raise _malformed(f"line {number} gives {symbol} a second CRC")
    return exports


def _line(number: int, line: str) -> tuple[str, Export]:
    crc, *words = line.split("\t")
    if len(words) == _OLD_FIELDS - 1:
        words.append("")
    elif len(words) == _OLD_FIELDS and _KIND.fullmatch(words[3]):
        words = [words[0], *words[2:], words[1]]
    good = (
        len(words) == _OLD_FIELDS
        and _CRC.fullmatch(crc)
        and _WORD.fullmatch(words[0])
        and _WORD.fullmatch(words[1])
        and _KIND.fullmatch(words[2])
        and (not words[3] or _WORD.fullmatch(words[3]))
    )
    if not good:
        raise _malformed(f"line {number} is {line[:_SHOWN]!r}")
    return words[0], Export(int(crc, 16), words[1], words[2], words[3])


def _malformed(what: str) -> FoundryError:
    return FoundryError(
        f"this Module.symvers can't be read: {what}",
        reason=Reason.SYMVERS_MALFORMED,
        hint="it must be the file that the kernel's development package has, whole",
    )
