"""``dkms.conf``: what a DKMS package says of its modules and of how they are made; read, never executed.

The file is sourced by bash on a node (dkms(8), "DKMS.CONF"). Assignments are all that a
package needs to describe itself, so assignments are what is read here: quoting, arrays,
and variables that stand before. What only bash could find out is an error where the build
depends on it (`RELEVANT`), with the line, and a remark where it does not.

In values ``{kernel}``, ``{kernel_build}`` and ``{arch}`` stand for what differs from cell to
cell, and `WORK` for the folder in which the sources are compiled.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.formats.packages.bash import Assignment, Script, TooMuch, read_script

FILE = "dkms.conf"
WORK = "/foundry/work"

MAX_BYTES = 1 << 18
_LONGEST = 1000  # characters of a value or a word that is used, as locks hold no longer line
_LONGEST_COMMAND = 16_000
_MOST_MODULES, _MOST_REMARKS, _LONGEST_NAME = 100, 100, 100
_TREE = "/var/lib/dkms"
_SOURCES = "/usr/src"
_FROM_DKMS = {
    "kernelver": "{kernel}", "kernel_source_dir": "{kernel_build}", "arch": "{arch}",
    "dkms_tree": _TREE, "source_tree": _SOURCES, "install_tree": "/lib/modules",
}
_PLACEHOLDER = re.compile(r"\{(?:kernel|kernel_build|arch)\}")
# What the build depends on: shell code in one of these, or around it, can't be let pass.
RELEVANT = (
    "PACKAGE_NAME", "PACKAGE_VERSION", "BUILT_MODULE_NAME", "BUILT_MODULE_LOCATION", "DEST_MODULE_LOCATION",
    "MAKE", "MAKE_MATCH", "PRE_BUILD", "PATCH",
)
EXCLUSIVE = (
    "BUILD_EXCLUSIVE_KERNEL", "BUILD_EXCLUSIVE_KERNEL_MIN", "BUILD_EXCLUSIVE_KERNEL_MAX", "BUILD_EXCLUSIVE_ARCH",
)
HOOKS = ("POST_ADD", "POST_BUILD", "PRE_INSTALL", "POST_INSTALL", "POST_REMOVE")
_IN_SHELL = re.compile(r"[$`;&|<>()*?\[\]{}~!\n]")
_name = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_word = re.compile(r"[A-Za-z0-9_./+=:@%,-]+")


@dataclass(frozen=True)
class DkmsModule:
    """A module: path of its ``.ko`` in the built tree, and its folder below ``/lib/modules/KERNEL``, both relative."""

    file: str
    destination: str


@dataclass(frozen=True)
class DkmsConf:
    """What the file says.

    `make` is what follows ``make``, as an argument list. `pre_build` is a program of the
    package and its arguments, empty where there is none. `exclusive` are the conditions on
    kernels (`EXCLUSIVE`), `hooks` the programs that DKMS would run on a node (`HOOKS`).
    `remarks` are sentences on what was read and is not done.
    """

    name: str
    version: str
    modules: tuple[DkmsModule, ...]
    make: tuple[str, ...]
    pre_build: tuple[str, ...]
    exclusive: Mapping[str, str] = field(hash=False)
    hooks: Mapping[str, str] = field(hash=False)
    remarks: tuple[str, ...]


def parse(data: bytes, *, overridden: frozenset[str] = frozenset()) -> DkmsConf:
    """Read a ``dkms.conf``; `overridden` are variables that the family file speaks for, not looked at here.

    Raises FoundryError ``dkms-malformed`` for what is no such file, ``dkms-shell`` where the
    build depends on what only a shell can find out, ``dkms-unsupported`` for what is not done here.
    """
    if len(data) > MAX_BYTES:
        raise _malformed(f"it has more than {MAX_BYTES} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise _malformed("it is not plain text") from error
    try:
        first = read_script(text, _FROM_DKMS)
        names = {"module": first.plain("PACKAGE_NAME"), "module_version": first.plain("PACKAGE_VERSION")}
        script = read_script(text, {**_FROM_DKMS, **names})
    except TooMuch as error:
        raise _malformed(str(error)) from error
    return _Reader(script, overridden).conf()


class _Reader:
    def __init__(self, script: Script, overridden: frozenset[str]) -> None:
        self._script, self._overridden = script, overridden
        self._remarks: list[str] = []

    def conf(self) -> DkmsConf:
        self._shell_code()
        name, version = self._one("PACKAGE_NAME"), self._one("PACKAGE_VERSION")
        for what, value in (("PACKAGE_NAME", name), ("PACKAGE_VERSION", version)):
            if not value:
                raise _malformed(f"it has no {what}")
        self._tree = {f"{_TREE}/{name}/{version}/build": WORK, f"{_SOURCES}/{name}-{version}": WORK}
        if "PATCH" not in self._overridden and (patches := self._all("PATCH")):
            raise _unsupported(
                f"it wants the patch {patches[0].value}",
                "write the change as `patches` in the family file, and `ignore: [PATCH]` into its `source`")
        modules = () if "BUILT_MODULE_NAME" in self._overridden else self._modules()
        return DkmsConf(
            name, version, modules, () if "MAKE" in self._overridden else self._make(), self._pre_build(),
            {what: value for what in EXCLUSIVE if (value := self._soft(what))},
            {what: value for what in HOOKS if (value := self._soft(what))}, self._some_remarks(),
        )

    def _shell_code(self) -> None:
        for block in self._script.code:
            touched = [name for name in block.assigns if name in RELEVANT and name not in self._overridden]
            if touched or block.loads:
                what = f"{touched[0]} depends on it" if touched else "it could set anything"
                raise _shell(block.line, block.text, what)
            self._remarks.append(f"line {block.line} of {FILE} is shell code and was not looked at: {block.text}")

    def _some_remarks(self) -> tuple[str, ...]:
        more = len(self._remarks) - _MOST_REMARKS
        return (*self._remarks[:_MOST_REMARKS], *([f"{more} more remarks on {FILE}"] if more > 0 else []))

    def _all(self, name: str) -> list[Assignment]:
        return [one for _, one in sorted(self._script.array(name).items())]

    def _checked(self, one: Assignment, longest: int = _LONGEST) -> str:
        if one.code:
            raise _shell(one.line, one.text, f"{one.name} depends on it")
        for variable in one.unset:
            self._remarks.append(
                f"line {one.line} of {FILE}: {variable[:_LONGEST_NAME]} is not set anywhere and counts as empty")
        return self._bounded(one, longest)

    @staticmethod
    def _bounded(one: Assignment, longest: int = _LONGEST) -> str:
        if len(one.value) > longest:
            raise _malformed(f"the value of {one.name} in line {one.line} has {len(one.value)} characters")
        return one.value

    def _one(self, name: str) -> str:
        found = self._script.array(name).get(0)
        return self._checked(found) if found is not None else ""

    def _soft(self, name: str) -> str:
        """A value that the build does not hang on: a remark where a shell would be needed."""
        found = self._script.array(name).get(0)
        if found is None:
            return ""
        if found.code:
            self._remarks.append(f"line {found.line} of {FILE} is shell code and was not looked at: {found.text}")
            return ""
        return self._bounded(found)

    def _modules(self) -> tuple[DkmsModule, ...]:
        names = self._script.array("BUILT_MODULE_NAME")
        numbers = sorted(names.keys() | self._script.array("DEST_MODULE_LOCATION").keys())
        if len(numbers) > _MOST_MODULES:
            raise _malformed(f"it names {len(numbers)} modules")
        modules = []
        for number in numbers:
            name = self._checked(names[number]) if number in names else self._one("PACKAGE_NAME")
            if not _name.fullmatch(name):
                raise _malformed(f"{name[:_LONGEST_NAME]!r} is no name of a module")
            location = self._at("BUILT_MODULE_LOCATION", number)
            destination = self._at("DEST_MODULE_LOCATION", number)
            other = self._at("DEST_MODULE_NAME", number)
            if other and other != name:
                self._remarks.append(
                    f"DKMS would install {name}.ko as {other[:_LONGEST_NAME]}.ko; here it keeps its name")
            modules.append(DkmsModule(_joined(location, f"{name}.ko"), _joined(destination)))
        files = [module.file.rpartition("/")[2] for module in modules]
        if not modules:
            raise _malformed("it names no module")
        if len(set(files)) < len(files):
            raise _malformed("it names a module twice")
        return tuple(modules)

    def _at(self, name: str, number: int) -> str:
        found = self._script.array(name).get(number)
        return self._checked(found) if found is not None else ""

    def _make(self) -> tuple[str, ...]:
        commands = self._script.array("MAKE")
        if len(commands) > 1 or self._script.array("MAKE_MATCH"):
            raise _unsupported("its MAKE depends on the kernel (MAKE_MATCH)",
                               "say in the family file how it is made: `make.command`")
        if 0 not in commands:
            return ("KERNELRELEASE={kernel}", "-C", "{kernel_build}", f"M={WORK}")
        value, line = self._checked(commands[0], _LONGEST_COMMAND), commands[0].line
        words = self._words(value, line)
        environment = []
        while words and re.match(r"[A-Za-z_]\w*=", words[0]):
            environment.append(words.pop(0))
        if not words or words[0] != "make":
            raise _shell(line, value, "only `make` with arguments is run")
        # dkms(8), MAKE: without KERNELRELEASE: 'make' in quotes
        release = [] if value.lstrip().startswith(("'", '"')) else ["KERNELRELEASE={kernel}"]
        return (*release, *environment, *words[1:])

    def _pre_build(self) -> tuple[str, ...]:
        if "PRE_BUILD" in self._overridden or not (value := self._one("PRE_BUILD")):
            return ()
        line = self._script.array("PRE_BUILD")[0].line
        words = self._words(value, line)
        for word in words:
            if not _word.fullmatch(_PLACEHOLDER.sub("x", word)):
                raise _shell(line, value, "PRE_BUILD depends on it")
        return tuple(words)

    def _words(self, value: str, line: int) -> list[str]:
        """The words of a command that bash would read once more; nothing in it may need a shell."""
        for path, place in self._tree.items():
            value = value.replace(path, place)
        try:
            bare = shlex.split(_PLACEHOLDER.sub("x", value))
            words = shlex.split(value)
        except ValueError as error:
            raise _malformed(f"line {line} has a quote that does not end") from error
        if any(len(word) > _LONGEST for word in words):
            raise _malformed(f"line {line} has a word of more than {_LONGEST} characters")
        if any(_IN_SHELL.search(word) for word in bare):
            raise _shell(line, value, "only `make` with arguments is run")
        return words


def _joined(*parts: str) -> str:
    """A relative path; FoundryError for one that leads elsewhere."""
    words = [word for part in parts for word in part.split("/") if word not in ("", ".")]
    if ".." in words or any(not _word.fullmatch(word) for word in words):
        raise _malformed(f"{'/'.join(parts)[:_LONGEST_NAME]!r} is no folder of a package")
    return "/".join(words)


def _malformed(why: str) -> FoundryError:
    return FoundryError(f"the package's {FILE} can't be used: {why}", reason=Reason.DKMS_MALFORMED,
                        hint="say it in the family file instead: `modules`, `make.command`, `source.root`")


def _shell(line: int, text: str, why: str) -> FoundryError:
    return FoundryError(
        f"line {line} of the package's {FILE} is shell code, which is never run, and {why}: {text[:200]}",
        reason=Reason.DKMS_SHELL,
        hint="say it in the family file instead: `modules`, `make.command` (docs/families.md)",
    )


def _unsupported(why: str, hint: str) -> FoundryError:
    return FoundryError(f"the package's {FILE} can't be followed: {why}", reason=Reason.DKMS_UNSUPPORTED, hint=hint)
