"""Small modules that each break one rule of the gate, to be compiled with any kernel's tree.

Each case gives its files and the commands that make ``<module>.ko`` of them,
so that they can be run on this machine or inside a toolkit's container.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

MODULE = "probe"

_SOURCE = """\
// SPDX-License-Identifier: GPL-2.0-only
#include <linux/module.h>
#include <linux/slab.h>

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A module for the tests of the gate");
%(before)s
static void *memory;

static int __init probe_init(void)
{
	memory = kmalloc(4096, GFP_KERNEL);
	%(inside)s
	return memory ? 0 : -ENOMEM;
}

static void __exit probe_exit(void)
{
	kfree(memory);
}

module_init(probe_init);
module_exit(probe_exit);
"""

_ABSENT = """
void kmod_foundry_absent_one(void);
void kmod_foundry_absent_two(void);
"""

# The kernel takes a symbol's first entry, and so this one before modpost's.
_OTHER_CRC = """
static const struct modversion_info other[] __used __section("__versions") = {
	{ 0x600dbeef, "kfree" },
};
"""


@dataclass(frozen=True)
class Case:
    """One module; `rule` is the rule that it breaks, empty for none.

    With `other_kernel` it must be compiled with the tree of another kernel than
    the one that the gate is asked about, and may break more rules than `rule`.
    `args` go to make, or without Kbuild are the whole command, if there is one.
    `asked` replaces settings of the gate.
    """

    name: str
    rule: str
    files: dict[str, str]
    args: tuple[str, ...] = ()
    module: str = MODULE
    other_kernel: bool = False
    with_kbuild: bool = True
    asked: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Put the case's files into `folder`."""
        for name, text in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def commands(self, tree: str, folder: str) -> list[list[str]]:
        """What makes the module: `tree` and `folder` are absolute, as the commands see them."""
        words = [word.format(folder=folder) for word in self.args]
        if self.with_kbuild:
            return [["make", "-C", tree, f"M={folder}", *words, "modules"]]
        return [words] if words else []

    def module_file(self, folder: Path) -> Path:
        """Where the module is when the commands have run."""
        return folder / f"{self.module}.ko"


def cases() -> list[Case]:
    """A module that breaks nothing, then at least one for each rule."""
    return [
        Case("good", "", _files()),
        Case("text", "elf", {f"{MODULE}.ko": "this is no module\n"}, with_kbuild=False),
        Case(
            "userspace", "elf", {"program.c": "int answer(void) { return 42; }\n"},
            args=("cc", "-c", "{folder}/program.c", "-o", f"{{folder}}/{MODULE}.ko"), with_kbuild=False,
        ),
        Case(
            "program", "elf", {"program.c": "int main(void) { return 0; }\n"},
            args=("cc", "{folder}/program.c", "-o", f"{{folder}}/{MODULE}.ko"), with_kbuild=False,
        ),
        Case("other-arch", "arch", _files(), asked={"arch": "aarch64"}),
        Case(
            "other-vermagic", "vermagic",
            {**_files(), "first/generated/utsrelease.h": '#define UTS_RELEASE "5.14.0-1.el9_0.x86_64"\n'},
            # These flags come before the kernel's own include folders.
            args=("NOSTDINC_FLAGS=-nostdinc -I{folder}/first",),
        ),
        Case("other-kernel", "vermagic", _files(), other_kernel=True),
        Case("other-name", "name", _files(module="renamed"), module="renamed"),
        Case(
            "absent-symbols", "symbols",
            _files(before=_ABSENT, inside="kmod_foundry_absent_one(); kmod_foundry_absent_two();"),
            args=("KBUILD_MODPOST_WARN=1",),
        ),
        Case("other-crc", "crcs", _files(before=_OTHER_CRC)),
        Case("no-versions", "crcs", _files(), args=("CONFIG_MODVERSIONS=",)),
    ]


def _files(*, module: str = MODULE, before: str = "", inside: str = "") -> dict[str, str]:
    return {
        "Kbuild": f"obj-m := {module}.o\n",
        f"{module}.c": _SOURCE % {"before": before, "inside": inside},
    }
