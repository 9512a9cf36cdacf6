"""What GitHub Actions shows of a run: annotations, a job's summary, and no command but ours.

The runner takes a line for a command that begins with ``::`` after white space, and one that has
``##[`` anywhere (actions/runner, src/Runner.Common/ActionCommand.cs), from standard output and
standard error alike. So all that is printed passes `guard`, which lets through nothing that a terminal acts on, either.
"""

from __future__ import annotations

import atexit
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from foundry.base.environment import OFF
from foundry.base.errors import EXIT_NO_READER, EXIT_OUTSIDE, FoundryError
from foundry.base.markdown import block, cell, code, words
from foundry.base.plain_text import plain
from foundry.net.traffic import NOTHING, Traffic, size
from foundry.run.journal import BLOCKED, DOING, DONE, FAILED, INTERRUPTED, Entry
from foundry.run.stages import stage_of

if TYPE_CHECKING:
    from foundry.fleet.collect import Taken
    from foundry.run.totals import Totals

_MOST = 10  # annotations of a kind that GitHub shows for a step
_MOST_ROWS = 1000  # a step's summary may have 1 MiB
_MOST_OF_A_PLAN = 200_000  # characters
_BEGINS = re.compile(r"(^|[\r\n])([^\S\r\n]*)::")
_WORST = (FAILED, BLOCKED, INTERRUPTED, DONE)


def in_actions(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether GitHub Actions runs this. Before the variable's value is looked at, a faulty one counts: it is safer."""
    return environ.get("GITHUB_ACTIONS", "").strip().lower() not in OFF


# -- commands ------------------------------------------------------------------


def harmless(text: str) -> str:
    """The text, in which the runner finds no command."""
    return _BEGINS.sub(r"\1\2| ::", text).replace("##[", "# #[")


def command(name: str, title: str, message: str) -> str:
    """A workflow command with its properties and data escaped as the runner reads them."""
    data, escaped = (plain(text).replace("%", "%25").replace("\n", "%0A") for text in (message, title))
    return f"::{name} title={escaped.replace(':', '%3A').replace(',', '%2C')}::{data}"


class Lasting:
    """A stream that nothing is raised of once its reader has gone; all else is the stream's own.

    A viewer's has no work that goes on without a reader: it ends the command.
    """

    def __init__(self, stream: Any, *, viewer: bool = False) -> None:
        self.stream = stream
        self.viewer = viewer

    def write(self, text: str) -> int:
        """Write the text; its length."""
        with self._else_nowhere():
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        """As of any stream."""
        with self._else_nowhere():
            self.stream.flush()

    def writelines(self, lines: Sequence[str]) -> None:
        """As `write`, each."""
        for line in lines:
            self.write(line)

    @contextmanager
    def _else_nowhere(self) -> Iterator[None]:
        """Work does not end because its reader has gone (``| head``, a closed terminal): the rest goes nowhere.

        A viewer ends as SIGPIPE ends other programs, or with an error where nobody chose not to read on.
        """
        try:
            yield
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)
            if isinstance(error, BrokenPipeError):
                if self.viewer:
                    raise SystemExit(EXIT_NO_READER) from None
                return
            print(f"{'error' if self.viewer else 'warning'}: what this command prints is lost: {error.strerror}",
                  file=sys.stderr)
            if self.viewer:
                raise SystemExit(EXIT_OUTSIDE) from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class Guarded(Lasting):
    """A stream of plain text, in GitHub Actions without workflow commands."""

    def write(self, text: str) -> int:
        """Write the text without what anybody acts on; the length of what was given."""
        super().write(harmless(plain(text)) if in_actions() else plain(text))
        return len(text)


def guard() -> None:
    """From now on this process prints plain text alone; the live view and the annotations write to `unguarded`.

    A stream that the caller has closed leads nowhere: else the next file that is opened would get its number, and
    what anybody prints.
    """
    sys.stdin = sys.stdin or _nowhere(0, "r")
    sys.stdout = Guarded(unguarded(sys.stdout) or _nowhere(1, "w"), viewer=True)
    sys.stderr = Guarded(unguarded(sys.stderr) or _nowhere(2, "w"))
    atexit.register(_flush_at_last)


def outlive_reader() -> None:
    """This command works, and goes on where nobody reads what it prints."""
    if isinstance(sys.stdout, Lasting):
        sys.stdout.viewer = False


def _flush_at_last() -> None:
    """Python would make a traceback of what is raised once it has begun to end."""
    try:
        sys.stdout.flush()
    except SystemExit as end:
        os._exit(int(str(end)))


def _nowhere(number: int, mode: str) -> IO[str]:
    found = os.open(os.devnull, os.O_RDWR)
    if found != number:
        os.dup2(found, number)
        os.close(found)
    return open(number, mode, encoding="utf-8")


def unguarded(stream: Any) -> Any:
    """The stream below the guard, for what we write ourselves."""
    return stream.stream if isinstance(stream, Guarded) else stream


# -- what a run tells ------------------------------------------------------------


def tell_fault(error: FoundryError) -> None:
    """Annotate what ended a run before its tasks."""
    if in_actions():
        _annotate([command("error", "kmod-foundry", error.render())])
        _append(f"### kmod-foundry\n\n{words(error.message)}\n")


def tell(entries: Sequence[Entry], current: int, warnings: Sequence[str], traffic: Traffic = NOTHING) -> None:
    """Annotate failures and warnings, and append the table to the job's summary; outside Actions nothing."""
    if not in_actions() or not (entries or current or warnings):
        return
    errors = [(entry.name, entry.error.render()) for entry in entries if entry.error is not None]
    told = [("kmod-foundry", text) for text in dict.fromkeys(warnings)]
    _annotate([*_commands("error", errors), *_commands("warning", told)])
    _append(summary(entries, current, warnings, traffic))


def _commands(name: str, found: Sequence[tuple[str, str]]) -> list[str]:
    shown = found if len(found) <= _MOST else found[:_MOST - 1]
    made = [command(name, title, message) for title, message in shown]
    more = len(found) - len(shown)
    return [*made, *([command(name, "kmod-foundry", f"and {more} more: see the summary")] if more else [])]


def summary(entries: Sequence[Entry], current: int, warnings: Sequence[str], traffic: Traffic = NOTHING) -> str:
    """The run as Markdown: a row for each cell and driver that something was done for, what failed first.

    `traffic` is that of the whole run, the rows have each their own.
    """
    subjects: dict[str, list[Entry]] = {}
    for entry in entries:
        found = stage_of(entry.name)
        if found is not None:
            subjects.setdefault(found[1], []).append(entry)
    rows = sorted(subjects.items(), key=lambda item: _WORST.index(_state(item[1])))
    count = {state: sum(_state(found) == state for found in subjects.values()) for state in _WORST}
    lines = [
        "### kmod-foundry", "",
        ", ".join(f"{number} {state}" for state, number in count.items() if number) or "nothing to do",
        f"({current} tasks were up to date and skipped).",
        f"Over the network: {_bytes(traffic)}.", "",
    ]
    if rows:
        lines += ["| | state | what was done | seconds | in | out | first error |", "|---|---|---|--:|--:|--:|---|"]
        lines += [_row(subject, found) for subject, found in rows[:_MOST_ROWS]]
        lines += [f"| … and {len(rows) - _MOST_ROWS} more | | | | | | |"] if len(rows) > _MOST_ROWS else []
        lines.append("")
    if warnings:
        lines += ["Warnings:", "", *(f"- {code(text)}" for text in dict.fromkeys(warnings)), ""]
    return "\n".join(lines) + "\n"


def _row(subject: str, entries: Sequence[Entry]) -> str:
    stages = [stage_of(entry.name) for entry in entries if entry.state == DONE]
    did = ", ".join(found[0].done for found in stages if found is not None)
    problem = next((entry for entry in entries if entry.error is not None), None)
    why = cell(problem.error.message) if problem is not None and problem.error is not None else ""
    if problem is None:
        why = next((cell(f"needs {entry.note}") for entry in entries if entry.state == BLOCKED), "")
    seconds = sum(entry.seconds for entry in entries)
    traffic = sum((entry.traffic for entry in entries), NOTHING)
    return (f"| {cell(subject)} | {_state(entries)} | {did} | {seconds:.1f} "
            f"| {_at_least(traffic)}{size(traffic.received + traffic.pulled)} | {size(traffic.sent)} | {why} |")


def tell_plan(lines: Sequence[str]) -> None:
    """Append what a run would do to the job's summary; outside Actions nothing."""
    if in_actions():
        text = "\n".join(lines)
        more = f"\n… {len(text) - _MOST_OF_A_PLAN} characters more: `doit plan`" if len(text) > _MOST_OF_A_PLAN else ""
        _append(f"### kmod-foundry: the plan\n\n{block(text[:_MOST_OF_A_PLAN] + more)}")


def tell_collected(taken: Sequence[Taken], lost: Sequence[str]) -> None:
    """Append to the job's summary what each shard left; outside Actions nothing."""
    if in_actions() and (taken or lost):
        _append(collected(taken, lost))


def collected(taken: Sequence[Taken], lost: Sequence[str]) -> str:
    """What the shards left as Markdown: a row for each, with what its run took; what nobody knows is a ``?``."""
    lines = ["### shards", ""]
    if taken:
        lines += ["| | published | failed | neither | refused | seconds | received | pulled | sent |",
                  "|---|--:|--:|--:|--:|--:|--:|--:|--:|"]
        lines += [_shard(one.folder.name, (one.rows, one.failures, one.others, one.refused), one.totals)
                  for one in taken[:_MOST_ROWS]]
        known = [one.totals for one in taken if one.totals is not None]
        traffic = sum((one.traffic for one in known), NOTHING)
        lines += ["", f"Over the network, {len(known)} of {len(taken)} shards: {_bytes(traffic)}.", ""]
    lines += [f"- {code(text)}" for text in lost]
    return "\n".join(lines) + "\n"


def _shard(name: str, counts: Sequence[Sequence[str]], totals: Totals | None) -> str:
    numbers = [str(len(cells)) for cells in counts]
    took = ["?"] * 4
    if totals is not None:
        one = totals.traffic
        took = [f"{totals.seconds:.1f}", size(one.received), f"{_at_least(one)}{size(one.pulled)}", size(one.sent)]
    return f"| {' | '.join([cell(name), *numbers, *took])} |"


def _bytes(traffic: Traffic) -> str:
    said = f"{size(traffic.received)} received, {size(traffic.pulled)} of images pulled, {size(traffic.sent)} sent"
    return said + (f" (and images whose size nobody says: {traffic.unknown})" if traffic.unknown else "")


def _at_least(traffic: Traffic) -> str:
    return "≥ " if traffic.unknown else ""


def _state(entries: Sequence[Entry]) -> str:
    """The worst of a subject's stages."""
    states = {INTERRUPTED if entry.state == DOING else entry.state for entry in entries}
    return min(states, key=_WORST.index)


def _annotate(lines: Sequence[str]) -> None:
    stream = Lasting(unguarded(sys.stdout))
    for line in lines:
        stream.write(f"{line}\n")
    stream.flush()


def _append(text: str) -> None:
    """Add to the job's summary; a summary that can't be written fails no run."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        return
    try:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(plain(text) + "\n")
    except OSError as error:
        print(f"warning: the job's summary can't be written: {error.strerror}", file=sys.stderr)
