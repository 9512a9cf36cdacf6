"""Modules as bytes: what is read of them, what the gate says, and that damage gives our own error only."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundry.base.errors import FoundryError
from foundry.formats.modules import elf, gate
from foundry.formats.modules.elf import parse_module, read_module
from foundry.formats.modules.symvers import Export
from tests.harness.checkout import ROOT
from tests.harness.fuzz import examples

KERNEL = "5.14.0-427.68.2.el9_4.x86_64"
MODINFO = (
    b"version=1.0\0alias=pci:v00001D0Fd00007164sv*sd*bc*sc*i*\0alias=pci:v00001D0Fd00007264sv*sd*bc*sc*i*\0\0\0"
    b"firmware=a.bin\0firmware=b.bin\0depends=one,two\0name=probe\0no equals sign\0vermagic="
    + KERNEL.encode() + b" SMP preempt mod_unload modversions \0"
)
VERSIONS = {"module_layout": 0x1111, "kfree": 0x2222, "printk": 0x3333}
SYMVERS = {name: Export(crc, "vmlinux", "EXPORT_SYMBOL", "") for name, crc in VERSIONS.items()}
GLOBAL, WEAK = 1, 2


def entry(name: str, crc: int) -> bytes:
    return struct.pack("<Q56s", crc, name.encode())


@dataclass(frozen=True)
class Layout:
    """How the parts of an ELF file are packed; the file header begins behind the identification."""

    wide: bool = True
    order: str = "<"

    def symbol(self, name: int, info: int, section: int) -> bytes:
        if self.wide:
            return struct.pack(f"{self.order}IBBHQQ", name, info, 0, section, 0, 0)
        return struct.pack(f"{self.order}IIIBBH", name, 0, 0, info, 0, section)

    def section(
        self, name: int, sort: int, place: int, content: bytes, link: int, size: int, flags: int = 0
    ) -> bytes:
        return struct.pack(f"{self.order}{'IIQQQQIIQQ' if self.wide else '10I'}", name, sort, flags, 0, place,
                           len(content), link, 1, 1, size)

    def head(self, kind: int, machine: int, sections: int, count: int) -> bytes:
        own, each = (64, 64) if self.wide else (52, 40)
        return b"\x7fELF" + bytes((1 + self.wide, 1 if self.order == "<" else 2, 1, 0)) + bytes(8) + struct.pack(
            f"{self.order}HHI{'QQQ' if self.wide else 'III'}I6H", kind, machine, 1, 0, 0, sections, 0, own, 0, 0, each,
            count, count - 1)


def module(
    *, modinfo: bytes = MODINFO, versions: bytes | None = None, machine: int = 62, kind: int = 1,
    undefined: tuple[tuple[str, int], ...] = (("printk", GLOBAL), ("kfree", GLOBAL), ("maybe", WEAK)),
    defined: tuple[str, ...] = ("init_module",), extra: dict[str, bytes] | None = None, layout: Layout = Layout(),
    unread: str = "",
) -> bytes:
    """An ELF file with the sections that a module has; the kernel would not read the one called `unread`."""
    if versions is None:
        versions = b"".join(entry(name, crc) for name, crc in VERSIONS.items())
    strings, symbols = b"\0", layout.symbol(0, 0, 0)
    for name, binding, section in (*((*one, 0) for one in undefined), *((name, GLOBAL, 1) for name in defined)):
        symbols += layout.symbol(len(strings), binding << 4, section)
        strings += name.encode() + b"\0"
    parts = {".modinfo": modinfo, "__versions": versions, **(extra or {}), ".symtab": symbols, ".strtab": strings}
    names = b"\0" + b"".join(name.encode() + b"\0" for name in (*parts, ".shstrtab"))
    parts[".shstrtab"] = names
    place = len(layout.head(0, 0, 0, 1))
    body, headers = b"", bytes(len(layout.section(0, 0, 0, b"", 0, 0)))
    for number, (name, content) in enumerate(parts.items(), 1):
        sort, link, size = {".symtab": (2, number + 1, len(layout.symbol(0, 0, 0))), ".strtab": (3, 0, 0),
                            ".shstrtab": (3, 0, 0)}.get(name, (1, 0, 0))
        flags = 2 if sort == 1 and name != unread else 0
        headers += layout.section(names.index(name.encode() + b"\0"), sort, place + len(body), content, link, size,
                                  flags)
        body += content
    return layout.head(kind, machine, place + len(body), len(parts) + 1) + body + headers


def reaching_out(data: bytes) -> bytes:
    """The same file, its first section said to be longer than all of it."""
    [start] = struct.unpack_from("<Q", data, 40)
    place = start + 64 + 32  # of sh_size in the second header
    return data[:place] + struct.pack("<Q", len(data)) + data[place + 8:]


def test_reads_what_a_module_says() -> None:
    facts = parse_module(module())
    assert (facts.name, facts.machine, facts.first("depends")) == ("probe", "x86_64", "one,two")
    assert facts.vermagic == f"{KERNEL} SMP preempt mod_unload modversions "
    assert (facts.firmware, facts.aliases, facts.first("version")) == (("a.bin", "b.bin"), 2, "1.0")
    assert (facts.imports, facts.weak_imports) == (("kfree", "printk"), ("maybe",))
    assert facts.versions == VERSIONS
    assert facts.signed is False


def test_sees_an_appended_signature() -> None:
    assert parse_module(module() + b"signature~Module signature appended~\n").signed


def test_names_other_machines() -> None:
    assert parse_module(module(machine=183)).machine == "aarch64"
    assert parse_module(module(machine=243)).machine == "EM_RISCV"


def test_a_machine_has_its_byte_order() -> None:
    """Crossed, it is not the machine that kernels call by that name."""
    mainframe = module(machine=22, layout=Layout(order=">"), versions=struct.pack(">Q56s", 7, b"kfree"))
    facts = parse_module(mainframe)
    assert (facts.machine, facts.versions, facts.imports) == ("s390x", {"kfree": 7}, ("kfree", "printk"))
    assert parse_module(module(machine=22)).machine == "EM_S390"
    assert parse_module(module(machine=21)).machine == "ppc64le"
    assert parse_module(module(machine=21, layout=Layout(order=">"))).machine == "EM_PPC64"


def test_a_narrow_machine_has_short_crcs() -> None:
    """struct modversion_info holds an unsigned long."""
    facts = parse_module(module(machine=40, layout=Layout(wide=False), versions=struct.pack("<I60s", 7, b"kfree")))
    assert (facts.machine, facts.versions, facts.name) == ("EM_ARM", {"kfree": 7}, "probe")


def test_what_a_module_exports_is_what_it_defines() -> None:
    facts = parse_module(module(undefined=(("__ksymtab_of_others", GLOBAL),),
                                defined=("init_module", "__ksymtab_b", "__ksymtab_a", "ksymtab_c")))
    assert facts.exports == ("a", "b")


def test_an_import_that_the_kernel_ignores() -> None:
    facts = parse_module(module(undefined=(("_GLOBAL_OFFSET_TABLE_", GLOBAL), ("kfree", GLOBAL))))
    assert facts.imports == ("kfree",)


def test_a_signature_counts_at_the_end_alone() -> None:
    """The kernel looks there; a file that merely holds the words is not signed."""
    assert not parse_module(module(modinfo=MODINFO + b"description=~Module signature appended~\n\0")).signed


@pytest.mark.parametrize("text", [
    b"softdep=pre: a\ninstall probe /bin/sh -c evil\nblacklist ext4", b"alias=x\nalias y z", b"alias=x\rinstall y z",
    b"softdep=pre: a\\", b"weakdep=a\nb", b"firmware=a\x1b[2J", b"new=a\nb", b"softdep=pre: a\xe2\x80\xa8b",
])
def test_what_depmod_writes_down_is_one_line(text: bytes, tmp_path: Path) -> None:
    """Else modprobe would find commands (``install``) and settings of others in ``modules.softdep``."""
    bad = report(tmp_path, module(modinfo=MODINFO + text + b"\0"))
    assert bad.broken == ("elf",) and "in more than one line" in bad.findings[0].detail
    assert report(tmp_path, module(modinfo=MODINFO + b"parm=size:a\n\tb\0description=a\nb\0softdep=pre: a b\0")).ok


def test_the_kernel_and_depmod_read_the_same_section() -> None:
    """One that is hidden from either of them is none that the gate looks at in place of the other."""
    second = module(extra={".modinfx": b"name=second\0"}, unread=".modinfx").replace(b".modinfx\0", b".modinfo\0")
    first = module(extra={".modinfx": b"name=second\0"}, unread=".modinfo").replace(b".modinfx\0", b".modinfo\0")
    for data in (first, second, module(unread=".modinfo"), module(unread="__versions")):
        with pytest.raises(FoundryError, match="is there twice, or the kernel would not read it") as caught:
            parse_module(data)
        assert caught.value.reason == "gate-elf"


@pytest.mark.parametrize("binding", [0, 3, 10, 13])
def test_what_is_not_weak_must_be_there(binding: int, tmp_path: Path) -> None:
    """The kernel looks for whatever is undefined, local or not."""
    assert report(tmp_path, module(undefined=(("kfree", GLOBAL), ("absent", binding)))).broken == ("symbols",)


def test_the_first_entry_of_a_symbol_counts() -> None:
    facts = parse_module(module(versions=entry("kfree", 7) + entry("kfree", 8)))
    assert facts.versions == {"kfree": 7}


def test_reads_the_long_names_of_newer_kernels() -> None:
    extra = {"__version_ext_crcs": struct.pack("<II", 5, 6), "__version_ext_names": b"kfree\0" + b"x" * 99 + b"\0"}
    assert parse_module(module(versions=b"", extra=extra)).versions == {"kfree": 5, "x" * 99: 6}


@pytest.mark.parametrize(("data", "words"), [
    (b"", "no ELF file"),
    (b"\xfd7zXZ\0", "no ELF file"),
    (b"\x7fELF", "damaged"),
    (module()[:-100], "damaged"),
    (module(kind=3), "no relocatable object"),
    (module(versions=b"x" * 65), "damaged __versions"),
    (module(extra={"__version_ext_crcs": b"12345"}), "damaged __version_ext"),
    (module(extra={"__version_ext_crcs": bytes(12), "__version_ext_names": b"a\0b"}), "damaged __version_ext"),
    (reaching_out(module()), "section .modinfo ends behind the end of the file"),
    (module().replace(b"\0.modinfo", b"\0.comment"), "no kernel module"),
    (module(defined=("__ksymtab_a b\nalias c",)), "exports a symbol that is called .a b.*nalias c"),
])
def test_refuses_what_is_no_module(data: bytes, words: str) -> None:
    with pytest.raises(FoundryError, match=words) as caught:
        parse_module(data)
    assert caught.value.reason == "gate-elf"


def test_refuses_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FoundryError, match="can't be read") as caught:
        read_module(tmp_path / "missing.ko")
    assert caught.value.reason == "gate-elf"


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    with suppress(FoundryError):
        parse_module(b"\x7fELF\x02\x01\x01" + data)


@examples(100)
@given(st.lists(st.tuples(st.integers(0, len(module()) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_damaged_modules(changes: list[tuple[int, int]]) -> None:
    data = bytearray(module())
    for place, value in changes:
        data[place] = value
    with suppress(FoundryError):
        parse_module(bytes(data))


@examples(50)
@given(st.integers(0, 63), st.binary(min_size=1, max_size=8), st.booleans())
def test_damaged_headers(place: int, value: bytes, in_sections: bool) -> None:
    data = module()
    start = place + (len(data) - 512 if in_sections else 0)
    with suppress(FoundryError):
        parse_module(data[:start] + value + data[start + len(value):])


def report(
    tmp_path: Path, data: bytes, *, kernel: str = KERNEL, name: str = "probe", arch: str = "x86_64",
    symvers: dict[str, Export] = SYMVERS, modversions: bool | None = None,
    siblings: dict[str, Export] | None = None,
) -> gate.GateReport:
    path = tmp_path / "probe.ko"
    path.write_bytes(data)
    return gate.check(path, kernel=kernel, expected_name=name, symvers=symvers, arch=arch,
                      modversions=modversions, siblings=siblings)


def test_the_gate_lets_a_good_module_through(tmp_path: Path) -> None:
    good = report(tmp_path, module())
    assert good.ok
    assert tuple(finding.rule for finding in good.findings) == tuple(gate.RULES)
    assert good.to_json()["findings"][0] == {
        "id": "elf", "ok": True, "detail": "a relocatable object with a .modinfo section"}
    good.require()


@pytest.mark.parametrize(("rule", "data"), [
    ("elf", b"text"),
    ("arch", module(machine=183)),
    ("vermagic", module(modinfo=MODINFO.replace(b"427.68.2", b"427.68.1"))),
    ("vermagic", module(modinfo=MODINFO.replace(b"x86_64 SMP", b"x86_64+rt SMP"))),
    ("vermagic", module(modinfo=b"name=probe\0")),
    ("name", module(modinfo=MODINFO.replace(b"name=probe", b"name=other"))),
    ("symbols", module(undefined=(("kfree", GLOBAL), ("absent", GLOBAL)))),
    ("crcs", module(versions=b"")),
    ("crcs", module(versions=entry("module_layout", 0x1111) + entry("kfree", 0x2222))),
    ("crcs", module(versions=entry("module_layout", 0x1111) + entry("kfree", 0x2222) + entry("printk", 1))),
    ("crcs", module(versions=entry("module_layout", 1) + entry("kfree", 0x2222) + entry("printk", 0x3333))),
    ("crcs", module(versions=entry("kfree", 0x2222) + entry("printk", 0x3333))),
])
def test_each_rule(tmp_path: Path, rule: str, data: bytes) -> None:
    bad = report(tmp_path, data)
    assert bad.broken == (rule,)
    with pytest.raises(FoundryError) as caught:
        bad.require()
    assert caught.value.reason == f"gate-{rule}"


def test_the_gate_tells_all_that_is_wrong(tmp_path: Path) -> None:
    many = tuple((f"absent{number}", GLOBAL) for number in range(9))
    bad = report(tmp_path, module(undefined=many), kernel="6.1.0-1-amd64", name="other")
    assert bad.broken == ("vermagic", "name", "symbols")
    with pytest.raises(FoundryError, match="absent0, absent1, absent2, absent3, absent4 and 4 more") as caught:
        bad.require()
    assert "not 'other'" in caught.value.message


def test_siblings_export_too(tmp_path: Path) -> None:
    data = module(undefined=(("kfree", GLOBAL), ("beside", GLOBAL)),
                  versions=entry("module_layout", 0x1111) + entry("kfree", 0x2222) + entry("beside", 9))
    assert report(tmp_path, data, siblings={"beside": Export(9, "beside", "EXPORT_SYMBOL", "")}).ok
    assert report(tmp_path, data, siblings={"beside": Export(8, "beside", "EXPORT_SYMBOL", "")}).broken == ("crcs",)


def test_what_the_kernel_exports_goes_before_a_sibling(tmp_path: Path) -> None:
    """The kernel resolves a name to its own symbol first."""
    assert report(tmp_path, module(), siblings={"kfree": Export(1, "beside", "EXPORT_SYMBOL", "")}).ok
    data = module(versions=entry("module_layout", 0x1111) + entry("kfree", 1) + entry("printk", 0x3333))
    assert report(tmp_path, data, siblings={"kfree": Export(1, "beside", "EXPORT_SYMBOL", "")}).broken == ("crcs",)


def test_a_weak_import_may_be_missing_and_must_fit(tmp_path: Path) -> None:
    data = module(versions=b"".join(entry(name, crc) for name, crc in VERSIONS.items()) + entry("maybe", 4))
    assert report(tmp_path, data).ok
    for crc, broken in ((4, ()), (5, ("crcs",))):
        symvers = {**SYMVERS, "maybe": Export(crc, "vmlinux", "EXPORT_SYMBOL", "")}
        assert report(tmp_path, data, symvers=symvers).broken == broken


def test_without_modversions_no_crc_is_asked_for(tmp_path: Path) -> None:
    zeros = {name: item._replace(crc=0) for name, item in SYMVERS.items()}
    plain = MODINFO.replace(b" modversions", b"")
    assert report(tmp_path, module(modinfo=plain, versions=b""), symvers=zeros).ok
    assert report(tmp_path, module(modinfo=plain, versions=b"")).broken == ("crcs",)
    assert report(tmp_path, module(modinfo=plain, versions=b""), symvers=zeros, modversions=True).broken == ("crcs",)


def test_a_symbol_without_a_crc_needs_none(tmp_path: Path) -> None:
    some = {**SYMVERS, "printk": SYMVERS["printk"]._replace(crc=0)}
    data = module(versions=entry("module_layout", 0x1111) + entry("kfree", 0x2222))
    assert report(tmp_path, data, symvers=some).ok


def test_an_empty_symvers_lets_nothing_through(tmp_path: Path) -> None:
    assert report(tmp_path, module(), symvers={}).broken == ("symbols", "crcs")


@pytest.mark.parametrize("data, words", [
    (lambda: module(undefined=tuple((f"s{number:05}" + "n" * 3000, GLOBAL) for number in range(1500))), "longer names"),
    (lambda: module(modinfo=MODINFO + b"a" * 2_000_001), "has 2000"),
    (lambda: module(extra={"__version_ext_names": b"\0" * 2_000_001}), "has 2000"),
])
def test_what_takes_too_long_to_read_is_no_module(
    data: Callable[[], bytes], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With smaller limits, and as large as it takes."""
    monkeypatch.setattr(elf, "_LARGEST_SECTION", 2_000_000)
    monkeypatch.setattr(elf._Budgeted, "left", 50_000)
    with pytest.raises(FoundryError, match=words) as caught:
        parse_module(data())
    assert caught.value.reason == "gate-elf"


def test_the_gate_says_no_more_than_a_line_can_hold(tmp_path: Path) -> None:
    endless = "n" * 100_000
    (tmp_path / "probe.ko").write_bytes(module(
        modinfo=f"name={endless}\0vermagic={endless}\0".encode(), undefined=((endless, GLOBAL),)))
    report = gate.check(tmp_path / "probe.ko", kernel=KERNEL, expected_name="probe", symvers=SYMVERS, arch="x86_64")
    assert not report.ok and len(str(report.to_json())) < 3000


def test_a_large_file_takes_no_memory(tmp_path: Path) -> None:
    """A compile may leave 4 GiB: of a module that is not stripped, no more is read than its tables."""
    path = tmp_path / "neuron.ko"
    path.write_bytes(module())
    expected = read_module(path)
    with path.open("r+b") as stream:
        stream.truncate(4 << 30)
    code = ("import sys; from pathlib import Path; from foundry.formats.modules.elf import read_module;"
            "facts = read_module(Path(sys.argv[1])); print(facts.name, facts.imports);"
            "print(next(int(line.split()[1]) >> 10 for line in open('/proc/self/status') if line.startswith('VmHWM')))")
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    said, mib = done.stdout.splitlines()
    assert said == f"{expected.name} {expected.imports}"
    assert int(mib) < 200


def test_an_empty_file_is_no_module(tmp_path: Path) -> None:
    (tmp_path / "x.ko").write_bytes(b"")
    with pytest.raises(FoundryError, match=r"x\.ko is no ELF file"):
        read_module(tmp_path / "x.ko")
