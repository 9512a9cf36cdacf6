"""The gate of a toolkit: it compiles a module for its kernel, as it would a driver, and the gate lets that through."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from foundry.base.errors import FoundryError
from foundry.base.files import append_to, scratch
from foundry.base.reasons import Reason
from foundry.base.untrusted import copy_out, disarm
from foundry.cell.compile import EXPORTS, LARGEST_MODULE, print_file
from foundry.cell.compile_command import Places, compile_arguments
from foundry.config.module import Module
from foundry.config.recipe import BUILD_SCRIPT, Recipe

if TYPE_CHECKING:
    from pathlib import Path

    from foundry.plan.toolkits import Toolkit
    from foundry.run.context import Foundry

HELLO = "container/driver-toolkit/hello"
_WRITES = ("build", "tmp")  # folders that the compile may write to
_RECIPE = Recipe((Module("hello", "hello.ko", ""),))
_HINT = "nobody could build with it: read the log; is everything of the recipe (config/toolkits/) for this kernel?"


def gate(foundry: Foundry, toolkit: Toolkit, image: str, folder: Path, log: Path) -> dict[str, Any]:
    """What the gate finds of the module; `image` is the toolkit's id, `folder` takes temporary files.

    Raises FoundryError ``toolkit-unusable`` where it does not compile, ``gate-…`` where the kernel would not load it.
    """
    from foundry.formats.modules.gate import check
    from foundry.formats.modules.symvers import parse

    with scratch(folder, "gate") as work:
        shutil.copytree(foundry.root / HELLO, work / "src")
        for name in _WRITES:
            (work / name).mkdir()
        places = Places(
            script=str((foundry.root / BUILD_SCRIPT).absolute()), source=str((work / "src").absolute()),
            **{name: str((work / folder).absolute()) for name, folder in zip(("work", "tmp"), _WRITES, strict=True)},
        )
        _compile(foundry, toolkit, compile_arguments(
            places, recipe=_RECIPE, kernel=toolkit.kernel, arch=toolkit.arch, toolkit=image, jobs="1",
        ), [work / name for name in _WRITES], log)
        disarm(work / "build")
        try:
            copy_out(work / "build", "hello.ko", work / "hello.ko", limit=LARGEST_MODULE)
        except FileNotFoundError:
            raise FoundryError(f"the toolkit of {toolkit.kernel} compiles no module", reason=Reason.TOOLKIT_UNUSABLE,
                               hint=_HINT, log=log) from None
        report = check(
            work / "hello.ko", kernel=toolkit.kernel, expected_name="hello", arch=toolkit.arch,
            symvers=parse(_exports(foundry, toolkit, image, log)),
        )
        note = append_to(log)
        for finding in report.findings:
            note(f"gate hello.ko: {'ok' if finding.ok else 'REFUSED'} {finding.rule}: {finding.detail}")
        report.require(log=log)
    return report.to_json()


def _compile(foundry: Foundry, toolkit: Toolkit, arguments: list[str], writes: list[Path], log: Path) -> None:
    """With the budgets of a cell's compile: a toolkit is made of packages from many places."""
    from foundry.cell.budgets import budget_arguments, watched
    from foundry.cell.compile_log import first_error

    engine, settings = foundry.containers.engine, foundry.settings
    budgets = budget_arguments(settings, engine.settings().limits, own_user=False, slots=1)
    with engine.container(f"gate {toolkit.kernel}") as name, watched(
        engine, name, writes, gib=settings.compile_disk, what=f"the gate of the toolkit of {toolkit.kernel}", log=log
    ):
        done = engine.call(
            "run", f"--name={name}", *budgets, *arguments, log=log, check=False, timeout=settings.compile_timeout,
        )
    if done.returncode != 0:
        raise FoundryError(f"the toolkit of {toolkit.kernel} compiles no module: {first_error(log) or 'see the log'}",
                           reason=Reason.TOOLKIT_UNUSABLE, hint=_HINT, log=log)


def _exports(foundry: Foundry, toolkit: Toolkit, image: str, log: Path) -> bytes:
    done = print_file(foundry.containers.engine, image, toolkit.kernel, EXPORTS)
    if done.returncode != 0 or not done.stdout:
        raise FoundryError(f"the toolkit of {toolkit.kernel} has no Module.symvers", reason=Reason.TOOLKIT_UNUSABLE,
                           hint=_HINT, log=log)
    return done.stdout.encode()
