"""How a driver is made: its modules and where they go, make's arguments, firmware; from family file and lock.

What a package itself says (``dkms.conf``, values read from its files) was found out when it was
fetched and stands in the lock: nothing here asks anybody, and the graph stays static.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from foundry.base.templates import fill_known
from foundry.config.family import Family
from foundry.config.locks import DkmsFacts, MainPackage
from foundry.config.module import Module

BUILD_SCRIPT = "container/build-module.sh"  # of all drivers, below the checkout
# The make command where neither family file nor dkms.conf has any: the kernel's own build of the folder.
KBUILD = ("make", "-C", "{kernel_build}", "M=/foundry/work", "modules")
_UNKNOWN = DkmsFacts("", (), ())


@dataclass(frozen=True, eq=False)
class Recipe:
    """How the modules of one driver are made. Hashed by identity, as `Family` is.

    `make` is the command: assignments for its environment, ``make``, arguments, still with ``{kernel}``,
    ``{kernel_build}`` and ``{arch}`` in them;
    `pre_build` a program of the package that runs before, in the same container; `loading_order`
    names of modules, the one that is loaded first comes first; `exclusive` are the package's own
    conditions on kernels.
    """

    modules: tuple[Module, ...]
    make: tuple[str, ...] = KBUILD
    root: str = ""
    pre_build: tuple[str, ...] = ()
    loading_order: tuple[str, ...] = ()
    strip: str = "debug"
    exclusive: Mapping[str, str] = field(default_factory=dict)


@lru_cache(maxsize=1024)
def recipe_of(family: Family, driver: str, package: MainPackage | None) -> Recipe:
    """The recipe of a driver; `package` is its entry in the lock, without which a DKMS package has no modules yet."""
    dkms = package.dkms if package is not None and package.dkms is not None else _UNKNOWN
    facts = {**(package.variables if package is not None else {}), "driver": driver}
    modules = tuple(
        Module(one["name"], one["file"], one.get("destination", "")) for one in family.data.get("modules", ())
    ) or dkms.modules
    said = family.data.get("make", {})
    command = ["make", *said["command"]] if "command" in said else dkms.make if family.dkms else KBUILD
    return Recipe(
        root=dkms.root or family.source_root(driver), modules=modules,
        make=tuple(fill_known(word, facts) for word in [*command, *said.get("arguments", ())]),
        pre_build=dkms.pre_build, loading_order=tuple(family.data.get("loading_order", ())),
        strip=family.data.get("strip", "debug"), exclusive=dkms.exclusive,
    )


def complete(family: Family, package: MainPackage) -> bool:
    """Whether the lock has all that this family's file wants to be known of a package."""
    dkms = package.dkms or _UNKNOWN
    # what the family file spoke for was not looked at: it is not known where the file no longer does
    told = ("modules" in family.data or bool(dkms.modules)) and (
        "command" in family.data.get("make", {}) or "make" in dkms.make)
    return (
        (told or not family.dkms)
        and package.variables.keys() == family.data.get("variables", {}).keys()
        and package.further.keys() == family.data.get("further_packages", {}).keys()
    )
