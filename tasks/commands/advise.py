"""`doit advise`: may a cluster be upgraded with a driver, on which way, and what covers that way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from doit.cmd_base import Command

from foundry.base.errors import EXIT_TASK_FAILED, UsageError
from foundry.base.plain_text import plain
from foundry.config.catalogue import DEFAULT, FLAVOURS
from tasks import session
from tasks.commands.arguments import OptionsAnywhere
from tasks.commands.told import told

if TYPE_CHECKING:
    from foundry.site.advise import Advice, Coverage

_OPTIONS = (
    {"name": "arch", "short": "", "long": "arch", "type": str, "default": "", "metavar": "ARCH",
     "help": "x86_64 or aarch64; else the first of the setting `arch`"},
    {"name": "flavour", "short": "", "long": "flavour", "type": str, "default": DEFAULT, "metavar": "FLAVOUR",
     "choices": tuple((name, "") for name in FLAVOURS), "help": f"one of {', '.join(FLAVOURS)}"},
    {"name": "manifest", "short": "", "long": "manifest", "type": bool, "default": False,
     "help": "the manifests alone, for `oc apply -f -` before the upgrade"},
    {"name": "json", "short": "", "long": "json", "type": bool, "default": False, "help": "a JSON object"},
)


class Advise(OptionsAnywhere, Command):  # type: ignore[misc]  # reason: doit has no types
    """Advise on an upgrade."""

    name = "advise"
    cmd_options = _OPTIONS

    @told
    def execute(self, params: Any, args: list[str]) -> int:
        """Exit code 1 where some release of every way lacks the driver, or no way is known."""
        if params["json"] and params["manifest"]:
            raise UsageError("--json has the manifests, too: name one of the two")
        session.only_read()
        driver, source, target = args
        return _advise(driver, source, target, params)


def _advise(driver: str, source: str, target: str, params: Any) -> int:
    from foundry.plan.upgrades import Upgrades, read_upgrades
    from foundry.release.bundle import on_the_way
    from foundry.site.advise import advise
    from foundry.site.coverage import coverage_of

    one = session.foundry()
    arch = params["arch"] or one.settings.arch[0]
    ledger = one.states.ledger(driver)
    if ledger is None:
        raise UsageError(f"there is no ledger of {driver} here",
                         hint=f"`doit bundle:{driver}` asks for it, where it is published; `doit status` shows drivers")
    file = one.settings.upgrades
    upgrades = read_upgrades(one.root / file, file, one.config.validation)
    if not upgrades:
        raise UsageError(f"no upgrades are known: there is no {file}", hint="`doit toolkit` writes it")
    coverage = coverage_of(one, ledger, arch, params["flavour"])
    advice = advise(driver, upgrades.get(arch, Upgrades()), coverage, source, target)
    manifests = on_the_way(one, ledger, [kernel for step in advice.way for kernel in coverage.kernels.get(
        step.release, ())], coverage.kernels.get(target, ()))
    if params["json"]:
        print(json.dumps({**advice.as_data(), "manifests": manifests}, indent=2))
    elif params["manifest"]:
        print(manifests, end="")
    else:
        print(plain("\n".join(_lines(advice, coverage))))
    return 0 if advice.path else EXIT_TASK_FAILED


def _lines(advice: Advice, coverage: Coverage) -> Iterator[str]:
    yield f"{advice.sentence()[0].upper()}{advice.sentence()[1:]}."
    width = max((len(step.release) for step in advice.way), default=0)
    for step in advice.way:
        kernels = coverage.kernels.get(step.release, ())
        said = ", ".join(kernels) if step.covered else "its kernels are not known" if not step.known else "; ".join(
            f"{kernel} has no image: {coverage.why.get(kernel) or 'nobody knows why'}" for kernel in step.lacking)
        yield f"  {step.release:<{width}}  {'ok  ' if step.covered else 'LOST'}  {said}"
        for risk in step.risks:
            yield f"  {'':<{width}}        not for every cluster: {risk.message or risk.name} {risk.url}".rstrip()
    for one in advice.blocked:
        names = ", ".join(risk.message or risk.name for risk in one.risks)
        yield f"  {one.source} to {one.target} at once is not recommended to every cluster: {names}"
    if advice.way:
        yield "Before the upgrade: `--manifest` prints a Module with the kernels of all these, and a preflight."
