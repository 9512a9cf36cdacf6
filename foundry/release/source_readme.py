"""The README of a modified source: what it is, what was changed, and the commands that make a module again."""

from __future__ import annotations

import posixpath
import shlex
from dataclasses import dataclass

from foundry.base.markdown import words
from foundry.cell.compile_command import Places, compile_arguments, finish_arguments
from foundry.config.recipe import BUILD_SCRIPT, Recipe

SOURCE, PATCHES, BUILD, REBUILD = "source", "patches", "build", "rebuild"
NONE = "none"  # in patches/kernels.txt: the kernel needs no patches


@dataclass(frozen=True)
class SeriesText:
    """A folder of patches, the kernels that it is for, and its files in their order, each with its reason."""

    folder: str
    kernels: tuple[str, ...]
    patches: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Readme:
    """What the README tells; `example` is the kernel that its commands build for."""

    title: str
    driver: str
    name: str
    package: str
    url: str
    sha256: str
    license: str
    series: tuple[SeriesText, ...]
    unchanged: tuple[str, ...]
    example: str
    recipe: Recipe
    files: tuple[str, ...]


def readme(facts: Readme) -> str:
    """The README in Markdown; its blocks of shell commands can be run one after the other in the archive's folder."""
    modules = ", ".join(f"`{name}`" for name in _names(facts))
    files = "\n".join(f"  - `{name}`" for name in facts.files)
    return f"""\
# Source of {facts.title} {facts.driver}, as built

This is the source of the kernel modules ({modules}) in the images `…:{facts.driver}-KERNEL`: the vendor's files, every
change that was made to them, and what they are compiled with.

| | |
|---|---|
| package | `{facts.package}` {facts.driver} |
| taken from | {facts.url} |
| SHA-256 of what is in it, signatures left out | `{facts.sha256}` |
| licence, as the package states it | {words(facts.license)} |

## Licence

The modules are distributed under the licence of the package. Where that is the GNU General Public License, version 2,
this archive is the complete corresponding source code that its section 3 speaks of: it is offered beside the images,
from the same place, and costs nothing. You may copy, change and pass it on under the terms of that licence.

## What is here

- `{SOURCE}/`: the package's source folder as the vendor published it. Nothing is added, changed or left out but what
  version control keeps (`.git` and the like), and nothing in it was built.
- `{PATCHES}/`: folders of patches. `series` in each names its patches in the order in which they are applied; each
  patch begins with the reason for it. `{PATCHES}/kernels.txt` has a line for each kernel: its name, its folder of
  patches (`{NONE}` where the vendor's files are compiled as they are), its toolkit.
- further files, as they were used:
{files}

## What was changed

{_changes(facts)}
## How to make a module again

You need Linux on the kernel's architecture, `podman`, `patch` and `awk`. The toolkit is a container image with the
kernel's headers and compiler; its registry may ask for a login (`podman login`). Run these commands in one shell, in
the folder `{facts.name}`, with the kernel that you want.

The kernel, its patches and its toolkit:

```sh
KERNEL={shlex.quote(facts.example)}
SERIES=$(awk -v kernel="$KERNEL" '$1 == kernel {{ print $2 }}' {PATCHES}/kernels.txt)
TOOLKIT=$(awk -v kernel="$KERNEL" '$1 == kernel {{ print $3 }}' {PATCHES}/kernels.txt)
```

A copy of the source with the patches in it:

```sh
mkdir -p {REBUILD}/work {REBUILD}/modules {REBUILD}/out
cp -R {SOURCE} {REBUILD}/src
if [ "$SERIES" != {NONE} ]; then
    while read -r name; do
        patch -p1 -d {REBUILD}/src -i "$PWD/{PATCHES}/$SERIES/$name" || break
    done < "{PATCHES}/$SERIES/series"
fi
```

The compile, without network and without rights:

```sh
podman pull "$TOOLKIT"
{_compile(facts)}
```

The modules, stripped, and depmod's lists, made where nothing of the driver runs:

```sh
cp {_built(facts)} {REBUILD}/modules/
{_finish(facts)}
sha256sum {REBUILD}/out/modules/*
```

{_outcome(facts)}
"""


def _names(facts: Readme) -> list[str]:
    return [one.base for one in facts.recipe.modules]


def _changes(facts: Readme) -> str:
    parts = []
    for one in facts.series:
        patches = "".join(f"- `{name}`: {' '.join(why.split())}\n" for name, why in one.patches)
        parts.append(f"`{PATCHES}/{one.folder}/`, for the kernels {_listed(one.kernels)}:\n\n{patches}")
    if facts.unchanged:
        parts.append(f"Nothing was changed for the kernels {_listed(facts.unchanged)}.\n")
    return "\n".join(parts)


def _listed(kernels: tuple[str, ...]) -> str:
    return ", ".join(f"`{kernel}`" for kernel in kernels)


def _outcome(facts: Readme) -> str:
    names = " and ".join(f"`{REBUILD}/out/modules/{name}`" for name in _names(facts))
    stripped = {
        "debug": "`STRIP=debug` lets the script take the debug information off; with `STRIP=none` you get it, too.",
        "none": "`STRIP=none` lets the script leave the debug information where it is.",
    }[facts.recipe.strip]
    return (
        f"{names}: the same, bit for bit, as in `/opt/lib/modules/KERNEL/` of the image\n"
        f"`…:{facts.driver}-KERNEL`. `{REBUILD}/out/depmod/` holds the lists that are beside it there.\n"
        f"{stripped}\n\n"
        "A module in the image may have more at its end: a signature (`modinfo -F signer` names who signed it), made\n"
        "with a key that is not here, and no part of what is compiled. All before it is the same. With the path of\n"
        "the image's module in `THEIRS` and that of yours in `OURS`, this finds no difference:\n"
        "`cmp -n \"$(wc -c < \"$OURS\")\" \"$OURS\" \"$THEIRS\"`"
    )


def _places() -> Places:
    here = _shell("$PWD")
    return Places(
        script=f"{here}/{BUILD}/{posixpath.basename(BUILD_SCRIPT)}", source=f"{here}/{REBUILD}/src",
        work=f"{here}/{REBUILD}/work", modules=f"{here}/{REBUILD}/modules", out=f"{here}/{REBUILD}/out",
    )


def _compile(facts: Readme) -> str:
    """The stage's own command, with shell variables for what differs from machine to machine."""
    return _command(compile_arguments(
        _places(), recipe=facts.recipe, kernel=_shell("$KERNEL"), arch=_shell("$(uname -m)"),
        toolkit=_shell("$TOOLKIT"), jobs=_shell("$(nproc)"),
    ))


def _built(facts: Readme) -> str:
    return " ".join(shlex.quote(f"{REBUILD}/work/{one.file}") for one in facts.recipe.modules)


def _finish(facts: Readme) -> str:
    return _command(finish_arguments(
        _places(), recipe=facts.recipe, kernel=_shell("$KERNEL"), toolkit=_shell("$TOOLKIT"),
    ))


def _command(arguments: list[str]) -> str:
    return " \\\n    ".join(["podman run", *map(_word, arguments)])


def _shell(text: str) -> str:
    """Shell text inside an argument, told from what only looks like it."""
    return f"\0{text}\0"


def _word(argument: str) -> str:
    """An argument as a shell reads it."""
    plain, *rest = argument.split("\0")
    if not rest:
        return shlex.quote(argument)
    parts = [plain, *rest]
    for index in range(0, len(parts), 2):
        parts[index] = "".join(f"\\{char}" if char in '\\"$`' else char for char in parts[index])
    return f'"{"".join(parts)}"'
