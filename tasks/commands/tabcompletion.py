"""`doit tabcompletion`: names completed in bash and zsh, by asking doit itself what may stand there."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from doit.cmd_base import DoitCmdBase

from foundry.config.profile import names as profiles
from tasks import session
from tasks.commands.arguments import HELP, commands, options_of, task_options
from tasks.commands.backend import OnRecords
from tasks.commands.help import ENVIRONMENT
from tasks.commands.pages import PAGES, page_of
from tasks.commands.told import told

# doit's own has no option --words: in other projects it says nothing, and file names are completed.
_BASH = r"""# bash completion of doit, for kmod-foundry: source <(doit tabcompletion)
_doit() {
    local line=${COMP_LINE:0:COMP_POINT} current kept
    current=${line##*[[:space:]]}
    mapfile -t COMPREPLY < <("${COMP_WORDS[0]}" tabcompletion --words="${line#*[[:space:]]}" 2> /dev/null)
    kept=${current%"$2"}  # bash replaces what follows a colon, an equals sign or the like alone
    COMPREPLY=("${COMPREPLY[@]#"$kept"}")
    [[ ${#COMPREPLY[@]} != 1 || ${COMPREPLY[0]} != *[:=] ]] || compopt -o nospace
}
complete -o default -F _doit doit
"""
_ZSH = r"""#compdef doit
# zsh completion of doit, for kmod-foundry: source <(doit tabcompletion --shell=zsh), after compinit
_doit() {
    local -a found
    found=("${(@f)$("${words[1]}" tabcompletion --words="${(j: :)words[2,CURRENT]}" 2> /dev/null)}")
    compadd -S '' -- ${(M)found:#*[:=]}
    compadd -- ${found:#(*[:=]|)}
    [[ -n "${found[*]}" ]] || _files
}
if [[ ${funcstack[1]-} == _doit ]]; then _doit; else compdef _doit doit; fi
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH}


class TabCompletion(OnRecords, DoitCmdBase):  # type: ignore[misc]  # reason: doit has no types
    """Print the script; with --words, what may stand in place of the last of them."""

    name = "tabcompletion"
    cmd_options = (
        {"name": "shell", "short": "s", "long": "shell", "type": str, "default": "bash", "metavar": "SHELL",
         "choices": tuple((name, "") for name in _SCRIPTS), "help": f"one of {', '.join(_SCRIPTS)}; bash by default"},
        {"name": "words", "short": "", "long": "words", "type": str, "default": None, "metavar": "LINE",
         "help": "for the script: print what may stand in place of the last word of what follows `doit`"},
    )

    @told
    def execute(self, params: Any, args: list[str]) -> int:
        """The tasks are loaded only where one is completed."""
        if params["words"] is None:
            self.outstream.write(_SCRIPTS[params["shell"]])
            return 0
        *before, current = re.split(r"\s+", params["words"])
        found = _without_tasks(before, current)
        if found is None:
            super().execute(params, [])
            found = [*_names(before), *(task.name for task in self.task_list), *_narrowed(current)]
        self.outstream.writelines(f"{name}\n" for name in sorted(set(found))
                                   if name.startswith(current) and name != f"{current.rstrip(':')}:")
        return 0

    def _execute(self) -> int:
        """The tasks are loaded: nothing more is wanted of doit."""
        return 0


def _without_tasks(before: list[str], current: str) -> Iterable[str] | None:
    """What may stand there, where that is known without the tasks; else None."""
    known = commands()
    command = before[0] if before and before[0] in known else "run"
    if command not in PAGES:
        return ()
    if current.startswith("-"):
        options = options_of(known[command]) + (task_options(before[-1]) if before else [])
        long = [f"--{option.long}{'' if option.type is bool else '='}{value}" for option in options
                for value in option.choices or ("",)]
        return [*long, *(f"-{option.short}" for option in options if option.short), *HELP]
    if command == "help":
        return [*PAGES, ENVIRONMENT]
    if command == "profile":
        return profiles(Path())
    if "TASK" in PAGES[command].usage:
        return None if ":" in current else _names(before)
    return session.foundry().states.plan.by_driver if "DRIVER" in PAGES[command].usage else ()


def _names(before: list[str]) -> list[str]:
    """The names of groups and stages, each also with what begins a name in it; first of a line also the commands."""
    tasks = [page.name for page in PAGES.values() if page.is_task]
    groups = [f"{page.name}:" for page in PAGES.values() if page.is_task and page.usage]
    return [*tasks, *groups, *([] if before else PAGES)]


def _narrowed(current: str) -> list[str]:
    """``build:<driver>@<minor>`` and ``@<release>`` for the driver that stands there."""
    driver, at, _ = current.removeprefix("build:").partition("@")
    cells = session.foundry().states.plan.by_driver.get(driver, ()) if at and page_of(current) else ()
    releases = {release for cell in cells for release in cell.releases}
    minors = {release.rpartition(".")[0] for release in releases}
    return [f"build:{driver}@{release}" for release in sorted(releases | minors)]
