"""The gate of a toolkit: it compiles a module for its kernel, as it would a driver, and the gate lets that through."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from foundry.base.errors import FoundryError
from foundry.base.files import append_to, scratch
from foundry.base.reasons import Reason
from foundry.cell.compile import EXPORTS, print_file
from foundry.cell.compile_command import Places, compile_arguments
from foundry.config.module import Module
from foundry.config.recipe import BUILD_SCRIPT, Recipe

if TYPE_CHECKING:
    from pathlib import Path

    from foundry.plan.toolkits import Toolkit
    from foundry.run.context import Foundry

HELLO = "container/driver-toolkit/hello"
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
        (work / "build").mkdir()
        places = Places(
            script=str((foundry.root / BUILD_SCRIPT).absolute()), source=str((work / "src").absolute()),
            work=str((work / "build").absolute()),
        )
        _compile(foundry, toolkit, compile_arguments(
            places, recipe=_RECIPE, kernel=toolkit.kernel, arch=toolkit.arch, toolkit=image, jobs="1",
        ), log)
        report = check(
            work / "build" / "hello.ko", kernel=toolkit.kernel, expected_name="hello", arch=toolkit.arch,
            symvers=parse(_exports(foundry, toolkit, image, log)),
        )
        note = append_to(log)
        for finding in report.findings:
            note(f"gate hello.ko: {'ok' if finding.ok else 'REFUSED'} {finding.rule}: {finding.detail}")
        report.require(log=log)
    return report.to_json()


def _compile(foundry: Foundry, toolkit: Toolkit, arguments: list[str], log: Path) -> None:
    from foundry.cell.compile_log import first_error

    engine = foundry.containers.engine
    with engine.container(f"gate {toolkit.kernel}") as name:
        done = engine.call(
            "run", f"--name={name}", *arguments, log=log, check=False,
            timeout=foundry.settings.compile_timeout,
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
