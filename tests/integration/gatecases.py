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

_OTHER_MODULE = """
#include <linux/module.h>
MODULE_LICENSE("GPL");
void other_do(void);
void other_do(void) { }
EXPORT_SYMBOL(other_do);
"""

_NAMESPACE = """
#include <linux/dma-buf.h>
MODULE_IMPORT_NS(DMA_BUF);
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
    `args` go to make, or without Kbuild are the whole command, if there is one; `then` is a shell command on what was
    made. `asked` replaces settings of the gate. `words` are in what is wrong.
    """

    name: str
    rule: str
    files: dict[str, str]
    args: tuple[str, ...] = ()
    module: str = MODULE
    other_kernel: bool = False
    with_kbuild: bool = True
    asked: dict[str, str] = field(default_factory=dict)
    then: str = ""
    words: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        """Put the case's files into `folder`."""
        for name, text in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def commands(self, tree: str, folder: str) -> list[list[str]]:
        """What makes the module: `tree` and `folder` are absolute, as the commands see them."""
        words = [word.format(folder=folder) for word in self.args]
        then = [["sh", "-euc", f"cd {folder}; {self.then}"]] if self.then else []
        if self.with_kbuild:
            return [["make", "-C", tree, f"M={folder}", *words, "modules"], *then]
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
        Case(
            "module-of-another-image", "symbols",
            {**_files(before="void other_do(void);\n", inside="other_do();"), "other.c": _OTHER_MODULE,
             "Kbuild": f"obj-m := {MODULE}.o other.o\n"}, words=("other_do", "it needs other"),
        ),
        Case(
            "exported-twice", "symbols", _files(before="void probe_do(void);\nvoid probe_do(void) { }\n"
                                                       "EXPORT_SYMBOL(probe_do);\n"),
            then=f"objcopy --redefine-sym __ksymtab_probe_do=__ksymtab_kfree {MODULE}.ko", words=("kfree",),
        ),
        Case("gpl", "", _files(inside="synchronize_rcu();")),
        Case(
            "other-license", "license", _files(inside="synchronize_rcu();"),
            then=f"sed -i s/license=GPL/license=MIT/ {MODULE}.ko", words=("'MIT'", "synchronize_rcu"),
        ),
        Case("nothing-for-the-gpl", "", _files(), then=f"sed -i s/license=GPL/license=MIT/ {MODULE}.ko"),
        Case("namespace", "", _files(before=_NAMESPACE, inside="dma_buf_put(NULL);")),
        Case(
            "other-namespace", "namespaces", _files(before=_NAMESPACE, inside="dma_buf_put(NULL);"),
            then=f"sed -i s/import_ns=DMA_BUF/import_ns=DMA_BUX/ {MODULE}.ko", words=("dma_buf_put", "DMA_BUF"),
        ),
        Case("without-debug", "", _files(), then=f"strip --strip-unneeded {MODULE}.ko"),
        Case("stripped", "elf", _files(), then=f"strip --strip-all -R .symtab {MODULE}.ko", words=("stripped",)),
        Case("signed", "", _files(), then=f"printf '~Module signature appended~\\n' >> {MODULE}.ko"),
        Case("other-crc", "crcs", _files(before=_OTHER_CRC)),
        Case("no-versions", "crcs", _files(), args=("CONFIG_MODVERSIONS=",)),
    ]


def _files(*, module: str = MODULE, before: str = "", inside: str = "") -> dict[str, str]:
    return {
        "Kbuild": f"obj-m := {module}.o\n",
        f"{module}.c": _SOURCE % {"before": before, "inside": inside},
    }
