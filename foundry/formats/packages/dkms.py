"""``dkms.conf``: what a DKMS package says of its modules and of how they are made; read, never executed.

The file is sourced by bash on a node (dkms(8), "DKMS.CONF"). Assignments are all that a
package needs to describe itself, so assignments are what is read here: quoting, arrays,
and variables that stand before. What only bash could find out is an error where the build
depends on it (`RELEVANT`), with the line, and a remark where it does not.

In values ``{kernel}``, ``{kernel_build}`` and ``{arch}`` stand for what differs from cell to
cell, and `WORK` for the folder in which the sources are compiled.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from foundry.base.errors import FoundryError
from foundry.base.reasons import Reason
from foundry.formats.packages.bash import Assignment, Code, Script, TooMuch, read_script

FILE = "dkms.conf"
WORK = "/foundry/work"

MAX_BYTES = 1 << 18
_LONGEST = 1000  # characters of a value or a word that is used, as locks hold no longer line
_LONGEST_COMMAND = 16_000
_MOST_MODULES, _MOST_REMARKS, _LONGEST_NAME, _SHOWN = 100, 100, 100, 5
_TREE = "/var/lib/dkms"
_SOURCES = "/usr/src"
# What differs from cell to cell, between characters that no file is allowed to have.
_BEGIN, _END = "\1", "\2"
_PLACEHOLDER = re.compile(f"{_BEGIN}(kernel|kernel_build|arch){_END}")
_FROM_DKMS = {
    "kernelver": f"{_BEGIN}kernel{_END}", "kernel_source_dir": f"{_BEGIN}kernel_build{_END}",
    "arch": f"{_BEGIN}arch{_END}", "dkms_tree": _TREE, "source_tree": _SOURCES, "install_tree": "/lib/modules",
}
_LABELS = ("PACKAGE_NAME", "PACKAGE_VERSION")  # they are in paths, and may be a module's name
_OF_MODULES = ("BUILT_MODULE_NAME", "BUILT_MODULE_LOCATION", "DEST_MODULE_LOCATION")
# A build may depend on these; each can be left out by `source.ignore`.
EXCLUSIVE = (
    "BUILD_EXCLUSIVE_KERNEL", "BUILD_EXCLUSIVE_KERNEL_MIN", "BUILD_EXCLUSIVE_KERNEL_MAX", "BUILD_EXCLUSIVE_ARCH",
    "BUILD_EXCLUSIVE_CONFIG", "OBSOLETE_BY",
)
IGNORED = ("PATCH", "PRE_BUILD", *EXCLUSIVE)
HOOKS = ("POST_ADD", "POST_BUILD", "PRE_INSTALL", "POST_INSTALL", "POST_REMOVE")
# What the build depends on: shell code in one of these, or that could change one, can't be let pass.
RELEVANT = ("MAKE", "MAKE_MATCH", *_OF_MODULES, "PRE_BUILD", "PATCH", *EXCLUSIVE, *_LABELS)
# In the order in which DKMS takes them over.
_TAKEN = (
    *_LABELS, "POST_ADD", "POST_BUILD", "POST_INSTALL", "POST_REMOVE", "PRE_BUILD",
    "PRE_INSTALL", "BUILD_DEPENDS", "BUILD_EXCLUSIVE_ARCH", "BUILD_EXCLUSIVE_CONFIG", "BUILD_EXCLUSIVE_KERNEL",
    "BUILD_EXCLUSIVE_KERNEL_MIN", "BUILD_EXCLUSIVE_KERNEL_MAX", "OBSOLETE_BY", "MAKE", "MAKE_MATCH", "PATCH",
    "BUILT_MODULE_NAME", "BUILT_MODULE_LOCATION", "DEST_MODULE_NAME", "DEST_MODULE_LOCATION", "STRIP",
)
# With these a file changes how it is read itself, or what DKMS made of it.
_MEDDLING = re.compile(
    "DKMS_DIRECTIVE.*|IFS|GLOBIGNORE|POSIXLY_CORRECT|BASH_COMPAT|BASHOPTS|SHELLOPTS|CR|export_envs|dkms_conf_variables|"
    "build_exclude|patch_array|built_module_(name|location)|dest_module_(name|location)|strip"
)
_IN_SHELL = re.compile(r"\$(?!\s|\Z)|[`;&|<>()*?\[\]{}~!\n\r\ufffd]")
_BLANKS = re.compile(r"[ \t\n]+")
_PLACES = re.compile(r"/(?:kernel|updates|extra)")
_OPTION = re.compile(r"!?CONFIG_\w+", re.ASCII)
_name = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_label = re.compile(r"[A-Za-z0-9_.+~:@%,=#-]+")
_word = re.compile(r"[A-Za-z0-9_./+=:@%,-]+")


@dataclass(frozen=True)
class DkmsModule:
    """A module: path of its ``.ko`` in the built tree, and its folder below ``/lib/modules/KERNEL``, both relative."""

    file: str
    destination: str


@dataclass(frozen=True)
class DkmsConf:
    """What the file says.

    `make` is the command as words: assignments for its environment, ``make``, arguments. `pre_build` is a program of
    the package and its arguments, empty where there is none. `exclusive` are the conditions on kernels (`EXCLUSIVE`),
    `hooks` the programs that DKMS would run on a node (`HOOKS`). `remarks` are sentences on what was read and is not
    done.
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
    if any(char in data for char in b"\0\1\2"):
        raise _malformed("it is not plain text")
    text = data.decode(errors="replace")  # comments may be in any encoding
    try:
        first = read_script(text, _FROM_DKMS)
        names = {"module": _plain(first, "PACKAGE_NAME"), "module_version": _plain(first, "PACKAGE_VERSION")}
        known = {**_FROM_DKMS, **names}
        script = read_script(text, known)
        return _Reader(script, _taken_over(script, known), overridden).conf()
    except TooMuch as error:
        raise _malformed(str(error)) from error


def _plain(script: Script, name: str) -> str:
    found = script.at(name)
    return found.value if found is not None and found.code is None else ""


def _taken_over(script: Script, known: Mapping[str, str]) -> Mapping[str, Mapping[int, Assignment]]:
    """The values as DKMS has them in the end: it writes them down in double quotes, split at blanks, and reads that."""
    found: dict[str, dict[int, Assignment]] = {}
    known = dict(known)
    for name in _TAKEN:
        found[name] = {}
        for index, one in sorted(script.array(name).items()):
            found[name][index] = one if one.code is not None else _read_again(one, index, known)
            if not index:
                known[name] = found[name][index].value
    return found


def _read_again(one: Assignment, index: int, known: Mapping[str, str]) -> Assignment:
    text = " ".join(_BLANKS.split(one.value.removesuffix("\r")))
    again = read_script(f'{one.name}[{index}]="{text}"', known)
    value = again.at(one.name, index)
    if value is None or again.code or value.code or value.unset:
        return replace(one, value="", code=Code(one.line, one.text))
    return replace(one, value=value.value)


class _Reader:
    def __init__(
        self, script: Script, values: Mapping[str, Mapping[int, Assignment]], overridden: frozenset[str]
    ) -> None:
        self._script, self._values, self._overridden = script, values, overridden
        self._remarks = [
            f"line {code.line} of {FILE} is shell code and was not looked at: {code.text}" for code in script.code]

    def conf(self) -> DkmsConf:
        self._shell_code()
        name, version = self._one("PACKAGE_NAME"), self._one("PACKAGE_VERSION")
        for what, value in (("PACKAGE_NAME", name), ("PACKAGE_VERSION", version)):
            if not value and self._script.lost is None:
                raise _malformed(f"it has no {what}")
            if value and not _label.fullmatch(value):
                raise _malformed(f"{_quoted(value)} is no {what}")
        self._tree = {f"{_TREE}/{name}/{version}/build": WORK, f"{_SOURCES}/{name}-{version}": WORK} if name else {}
        if patches := [one for _, one in self._relevant("PATCH")]:
            raise _unsupported(
                f"it wants the patch {_filled(patches[0].value)}",
                "write the change as `patches` in the family file, and `ignore: [PATCH]` into its `source`")
        modules = () if "BUILT_MODULE_NAME" in self._overridden else self._modules()
        make = () if "MAKE" in self._overridden else self._make()
        self._not_done()
        return DkmsConf(
            name, version, modules, make, self._pre_build(), self._exclusive(),
            {what: value for what in HOOKS if (value := self._soft(what))}, self._some_remarks(),
        )

    def _relevant(self, name: str) -> list[tuple[int, Assignment]]:
        return [] if name in self._overridden else sorted(self._values[name].items())

    def _shell_code(self) -> None:
        """Refuse the file where code decides on what the build depends on, with all that it decides on."""
        names = (*self._script.values, *self._script.touched)
        meddling = next((name for name in names if _MEDDLING.fullmatch(name)), "")
        if meddling:
            raise _unsupported(f"it sets {meddling[:_LONGEST_NAME]}, with which it changes how DKMS reads it",
                               "don't use the package before you know what this is for")
        needed = {"MAKE", "PRE_BUILD", "BUILT_MODULE_NAME"} - self._overridden
        decided = {
            name: one for name in RELEVANT for _, one in self._relevant(name)
            if one.code is not None and (needed or name not in _LABELS)
        }
        if decided:
            one = min(decided.values(), key=lambda one: one.line)
            raise _shell(one.code or Code(one.line, one.text), tuple(decided))

    def _some_remarks(self) -> tuple[str, ...]:
        more = len(self._remarks) - _MOST_REMARKS
        return (*self._remarks[:_MOST_REMARKS], *([f"{more} more remarks on {FILE}"] if more > 0 else []))

    def _checked(self, one: Assignment, longest: int = _LONGEST) -> str:
        for variable in one.unset:
            self._remarks.append(
                f"line {one.line} of {FILE}: {variable[:_LONGEST_NAME]} is not set anywhere and counts as empty")
        if len(one.value) > longest:
            raise _malformed(f"the value of {one.name} in line {one.line} has {len(one.value)} characters")
        return one.value

    def _at(self, name: str, number: int = 0) -> Assignment | None:
        return self._values[name].get(number)

    def _one(self, name: str, number: int = 0) -> str:
        found = self._at(name, number)
        return self._checked(found) if found is not None else ""

    def _soft(self, name: str) -> str:
        """A value that the build does not hang on: a remark where a shell would be needed."""
        found = self._at(name)
        if found is not None and found.code is not None:
            self._remarks.append(
                f"line {found.line} of {FILE} is shell code and was not looked at: {found.text}")
            return ""
        return _filled(self._one(name))

    def _not_done(self) -> None:
        """Remark on what DKMS would do besides."""
        for _, one in sorted(self._values["BUILD_DEPENDS"].items()):
            what = _filled(one.value)[:_LONGEST_NAME] or one.text
            self._remarks.append(f"line {one.line} of {FILE}: DKMS builds {what} first, another package: not done here")
        if any(one.value[:1] in ("n", "N") for one in self._values["STRIP"].values()):
            self._remarks.append(f"DKMS would not strip all modules (STRIP in {FILE}); here the field `strip` says it")

    def _modules(self) -> tuple[DkmsModule, ...]:
        numbers = {number for name in (*_OF_MODULES, "DEST_MODULE_NAME") for number in self._values[name]}
        if not numbers:
            raise _malformed("it names no module")
        if len(numbers) > _MOST_MODULES or max(numbers) >= _MOST_MODULES:
            raise _malformed(f"it names more than {_MOST_MODULES} modules")
        modules = []
        for number in range(max(numbers) + 1):
            name = self._one("BUILT_MODULE_NAME", number) or (self._one("PACKAGE_NAME") if len(numbers) == 1 else "")
            if not _name.fullmatch(name) or name.endswith((".o", ".ko")):
                raise _malformed(f"{_quoted(name)}, its module {number}, is no name of a module")
            destination = self._one("DEST_MODULE_LOCATION", number)
            if not _PLACES.match(destination):
                raise _malformed(f"the DEST_MODULE_LOCATION of {name}, {_quoted(destination)}, is not below"
                                 " /kernel, /updates or /extra")
            self._rename(name, number)
            location = self._one("BUILT_MODULE_LOCATION", number)
            if location.startswith("/"):
                raise _malformed(f"the BUILT_MODULE_LOCATION of {name} is no folder of the package")
            modules.append(DkmsModule(_joined(location, f"{name}.ko"), _joined(destination)))
        files = [module.file.rpartition("/")[2] for module in modules]
        if len(set(files)) < len(files):
            raise _malformed("it names a module twice")
        return tuple(modules)

    def _rename(self, name: str, number: int) -> None:
        other = self._at("DEST_MODULE_NAME", number)
        if other is not None and other.code is None and other.value not in ("", name):
            self._remarks.append(
                f"DKMS would install {name}.ko as {_filled(other.value)[:_LONGEST_NAME]}.ko; here it keeps its name")

    def _make(self) -> tuple[str, ...]:
        if any(one.value for one in self._values["MAKE_MATCH"].values()):
            raise _unsupported("its MAKE depends on the kernel (MAKE_MATCH)",
                               "say in the family file how it is made: `make.command`")
        command = self._at("MAKE")
        if command is None or not (value := self._checked(command, _LONGEST_COMMAND)):
            return ("make", "KERNELRELEASE={kernel}", "-C", "{kernel_build}", f"M={WORK}")
        words = self._words(value, command.line)
        assigned = [re.match(r"(?a)[A-Za-z_]\w*=", word) is not None for word in words]
        place = assigned.index(False) if False in assigned else len(words)
        if words[place:place + 1] != ["make"]:
            raise _not_plain(command.line, value)
        # DKMS looks whether the text begins with the word, nothing more.
        release = ("KERNELRELEASE={kernel}",) if value.startswith("make") else ()
        return (*words[:place + 1], *release, *words[place + 1:])

    def _pre_build(self) -> tuple[str, ...]:
        found = self._at("PRE_BUILD")
        if "PRE_BUILD" in self._overridden or found is None or not (value := self._checked(found)):
            return ()
        program, *_ = value.split(" ")
        words = self._words(value, found.line)
        if not program or any(not _word.fullmatch(_PLACEHOLDER.sub("x", word)) for word in value.split(" ")):
            raise _shell(Code(found.line, found.text), ("PRE_BUILD",))
        return (f"./{_joined(program)}", *words[1:])  # DKMS looks for it in the package, whatever it is called

    def _exclusive(self) -> Mapping[str, str]:
        found = {}
        for name in EXCLUSIVE:
            values = dict(self._relevant(name))
            if len(values) > 1:
                self._remarks.append(f"{name} of single modules is not looked at, as DKMS before 3.4 does not")
            value = self._checked(values[0]) if 0 in values else ""
            odd = name.endswith("_CONFIG") and [word for word in value.split() if not _OPTION.fullmatch(word)]
            if odd or _PLACEHOLDER.search(value):
                line = values[0].line
                raise _unsupported(f"its {name} in line {line} is no plain condition: {_filled(value)[:_LONGEST_NAME]}",
                                   f"judge it yourself, and write `ignore: [{name}]` into the family file's `source`")
            if value:
                found[name] = value
        if "BUILD_EXCLUSIVE_KERNEL_MAX" in found:
            found.pop("OBSOLETE_BY", None)
        return found

    def _words(self, value: str, line: int) -> list[str]:
        """The words of a command that bash would read once more; nothing in it may need a shell."""
        for path, place in self._tree.items():
            value = value.replace(path, place)
        try:
            words = shlex.split(value)
        except ValueError as error:
            raise _malformed(f"line {line} has a quote that does not end") from error
        if any(len(word) > _LONGEST for word in words):
            raise _malformed(f"line {line} has a word of more than {_LONGEST} characters")
        if any(_IN_SHELL.search(word) or word.startswith("#") for word in words):
            raise _not_plain(line, value)
        return [_filled(word) for word in words]


def _filled(text: str) -> str:
    return _PLACEHOLDER.sub(r"{\1}", text)


def _quoted(text: str) -> str:
    """A value for an error."""
    return repr(_filled(text)[:_LONGEST_NAME])


def _joined(*parts: str) -> str:
    """A relative path; FoundryError for one that leads elsewhere."""
    path = posixpath.normpath("/".join(["", *parts]).lstrip("/") or ".")
    if path.split("/")[0] == ".." or any(word and not _word.fullmatch(word) for word in path.split("/")):
        raise _malformed(f"{_quoted('/'.join(parts))} is no path of a package")
    return "" if path == "." else path


def _malformed(why: str) -> FoundryError:
    return FoundryError(f"the package's {FILE} can't be used: {why}", reason=Reason.DKMS_MALFORMED,
                        hint="say it in the family file instead: `modules`, `make.command`, `source.root`")


def _not_plain(line: int, value: str) -> FoundryError:
    return FoundryError(
        f"line {line} of the package's {FILE} is shell code, which is never run: only `make` with arguments is, not"
        f" {_filled(value)[:200]}", reason=Reason.DKMS_SHELL, hint=_instead(("MAKE",)),
    )


def _shell(code: Code, names: Sequence[str]) -> FoundryError:
    what = names[0] if len(names) == 1 else f"{', '.join(names[:_SHOWN])}{' and more' * (len(names) > _SHOWN)}"
    return FoundryError(
        f"line {code.line} of the package's {FILE} is shell code, which is never run, and {what}"
        f" {'depends' if len(names) == 1 else 'depend'} on it: {code.text}", reason=Reason.DKMS_SHELL,
        hint=_instead(names),
    )


def _instead(names: Sequence[str]) -> str:
    """How the family file speaks for these variables."""
    everywhere = bool({*names} & {*_LABELS})
    fields = ["`modules`"] if everywhere or {*names} & {*_OF_MODULES} else []
    fields += ["`make.command`"] if everywhere or {*names} & {"MAKE", "MAKE_MATCH"} else []
    left_out = [name for name in IGNORED if name in names or (everywhere and name == "PRE_BUILD")]
    fields += [f"`source: {{dkms: true, ignore: [{', '.join(left_out)}]}}`"] if left_out else []
    return f"say it in the family file instead: {', '.join(fields)} (docs/families.md)"


def _unsupported(why: str, hint: str) -> FoundryError:
    return FoundryError(f"the package's {FILE} can't be followed: {why}", reason=Reason.DKMS_UNSUPPORTED, hint=hint)
