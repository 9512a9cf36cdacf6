"""The containers that make a cell's modules: the driver's own code runs in the first, none of it in the others.

What the first leaves is looked at from outside: the listed modules, plain files that are not too large, are copied
out; another module that was built is refused; nothing else counts. The second strips them and makes depmod's files.
A third makes these anew where the modules need some of the kernel's own.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from foundry.base.deadline import Deadline
from foundry.base.errors import FoundryError, no_space, says_no_space
from foundry.base.files import append_to, is_full, read_file, remove_tree
from foundry.base.process import Completed, failure_sentence, shell_line
from foundry.base.reasons import MACHINE_FAULTS, Reason
from foundry.base.untrusted import copy_out, disarm
from foundry.cell.budgets import budget_arguments, watched
from foundry.cell.compile_command import Places, compile_arguments, finish_arguments
from foundry.cell.compile_log import first_error, last_line, machine_fault, said_by_podman
from foundry.cell.output_checks import require_listed
from foundry.config.recipe import BUILD_SCRIPT, Recipe
from foundry.formats.modules.elf import COMPRESSED, is_signed, uncompress
from foundry.plan.cells import Cell
from foundry.podman.engine import Engine
from foundry.podman.mounts import CONFINED
from foundry.run.context import Foundry

# podman-run(1): exit codes of podman itself, not of what it ran.
_PODMAN_ITSELF = (125, 126, 127)
# Where root runs podman, root in a container is root outside: the driver's code runs as a user that no machine has.
_NOBODY = 64999
_SCRIPT = "build-module.sh"
LARGEST_MODULE = 1 << 30  # bytes, with its debug information
_PRINT_SECONDS = 600.0
_FOLDERS = ("build", "modules", "out")
_SIGNALS = 128  # what is added to a signal's number where a program in a container is ended by it
_MORE = "run again; raise `{}` if that is what it needs, or take a larger machine"
_HINTS = {
    Reason.OUT_OF_MEMORY: _MORE.format("compile_memory"),
    Reason.OUT_OF_PROCESSES: _MORE.format("compile_processes"),
    Reason.CONTAINER_KILLED: "run again; did somebody stop it, or was there too little memory?",
    Reason.PODMAN_FAILED: "run `doit doctor`",
}
_PRINT = """\
kernel=$1
shift
for build in "/lib/modules/$kernel/build" "/usr/src/kernels/$kernel"; do
    for file do
        [ -e "$build/$file" ] || continue
        exec head -c 67108864 "$build/$file"  # 64 MiB: a whole Module.symvers has 2, and what is cut off is malformed
    done
done
exit 1"""
EXPORTS = ("Module.symvers",)
# Where DKMS looks for the kernel's configuration.
CONFIG = ("include/config/auto.conf", ".config")


@dataclass
class Compile:
    """The compile of one cell; `work` holds ``src``, the patched copy, and gets ``build``, ``modules`` and ``out``."""

    foundry: Foundry
    cell: Cell
    recipe: Recipe
    toolkit: str
    work: Path
    log: Path
    deadline: Deadline
    _begin: int = 0  # bytes of the log before this try

    def make(self) -> None:
        """Leave in ``out`` what ``container/build-module.sh finish`` leaves there.

        Once more where the machine is to blame and there is time. Raises FoundryError: ``compile-failed``,
        ``compile-too-large``, ``module-unlisted``, ``output-unsafe``, ``no-space``; with `retry` set ``timeout``,
        ``out-of-memory``, ``out-of-processes``, ``container-killed``, ``podman-failed``.
        """
        shutil.copyfile(self.foundry.root / BUILD_SCRIPT, self.work / _SCRIPT)
        (self.work / _SCRIPT).chmod(0o644)  # whatever the checkout's rights are, the container's user reads it
        try:
            self._try()
        except FoundryError as error:
            if error.reason not in MACHINE_FAULTS or self.deadline.is_over:
                raise
            append_to(self.log)(f"tried again: {error.message}")
            self._try()

    def _try(self) -> None:
        self._begin = self.log.stat().st_size if self.log.exists() else 0
        for name in _FOLDERS:
            remove_tree(self.work / name)
            (self.work / name).mkdir()
        self._empty_tmp()
        jobs = self.foundry.schedule.begin_compile(self.cell.name)
        try:
            self._compile(jobs)
        finally:
            self.foundry.schedule.end_compile()
            self._empty_tmp()
            disarm(self.work / "build")
        self._take_modules()
        require_listed(self.recipe, self.cell, self.work)
        self._finish()
        self._empty_tmp()

    def _empty_tmp(self) -> None:
        remove_tree(self.work / "tmp")
        (self.work / "tmp").mkdir()
        (self.work / "tmp").chmod(0o1777)  # as /tmp is everywhere: for both containers' users, and who replays one

    def _compile(self, jobs: int) -> None:
        user = str(_NOBODY) if os.geteuid() == 0 else "0"
        if user != "0":
            os.chown(self.work / "build", _NOBODY, _NOBODY)
        arguments = compile_arguments(
            self._places(), recipe=self.recipe, kernel=self.cell.kernel, arch=self.cell.arch, toolkit=self.toolkit,
            jobs=str(jobs), user=user,
        )
        self._run(arguments, f"{self.cell.name} does not compile", ("build", "tmp"), own_user=user != "0")

    def _take_modules(self) -> None:
        for one in self.recipe.modules:
            self.deadline.left()
            dest = self.work / "modules" / one.base
            if not any(self._copied(one.file + suffix, dest) for suffix in COMPRESSED):
                raise FoundryError(
                    f"{self.cell.name} does not compile: the build did not produce {one.file}", log=self.log,
                    reason=Reason.COMPILE_FAILED, hint="what does the log say of it? Is its name right in `modules`?",
                )
            if self.recipe.strip != "none" and is_signed(dest):
                append_to(self.log)(f"{one.file} is signed; stripping takes the signature off, `strip: none` keeps it")

    def _copied(self, file: str, dest: Path) -> bool:
        """Whether the build has left the file; `dest` is then a copy, decompressed."""
        try:
            copy_out(self.work / "build", file, dest, limit=LARGEST_MODULE)
        except FileNotFoundError:
            return False
        uncompress(dest, LARGEST_MODULE)
        return True

    def link(self, in_tree: Sequence[str]) -> tuple[str, ...]:
        """Make depmod's files in ``out`` anew, so that they know these modules of the kernel's and what they need.

        Returns those that the toolkit does not have: then the files are as they were. Raises as `make`.
        """
        self._finish(in_tree)
        self._empty_tmp()
        return tuple(read_file(self.work / "out" / "missing").decode(errors="replace").split())

    def _finish(self, in_tree: Sequence[str] = ()) -> None:
        arguments = finish_arguments(self._places(), recipe=self.recipe, kernel=self.cell.kernel, toolkit=self.toolkit,
                                     in_tree=in_tree)
        self._run(arguments, f"the modules of {self.cell.name} can't be stripped or listed", ("out", "tmp"),
                  own_user=False)

    def _places(self) -> Places:
        names = {name: str((self.work / folder).absolute()) for name, folder in (
            ("source", "src"), ("work", "build"), ("modules", "modules"), ("out", "out"), ("tmp", "tmp"),
        )}
        return Places(script=str((self.work / _SCRIPT).absolute()), **names)

    def _run(self, arguments: list[str], what: str, writes: tuple[str, ...], *, own_user: bool) -> None:
        """Run a container, which writes to these folders; raises what became of it. `what` says it did not go well."""
        engine, settings = self.foundry.containers.engine, self.foundry.settings
        budgets = budget_arguments(settings, engine.settings().limits, own_user=own_user,
                                   slots=self.foundry.schedule.slots)
        folders = [self.work / name for name in writes]

        def once() -> Completed:
            with engine.container(self.cell.name) as name, watched(
                engine, name, folders, gib=settings.compile_disk, what=self.deadline.what, log=self.log
            ):
                return engine.call(
                    "run", f"--name={name}", *budgets, *arguments,
                    log=self.log, check=False, timeout=self.deadline.left(),
                )

        try:
            done = _started(self.foundry, self.toolkit, self.log, once)
        except FoundryError as error:
            if error.reason == Reason.TIMEOUT:
                raise self.deadline.missed() from error
            raise
        self._raise(done, shell_line(engine.command("run", *arguments)), what)

    def _raise(self, done: Completed, replay: str, what: str) -> None:
        code = done.returncode
        if code == 0:
            return
        first = first_error(self.log, self._begin)
        if says_no_space(first) or is_full(self.work):  # where the log's end did not fit either
            why = first if says_no_space(first) else f"{os.strerror(errno.ENOSPC)} ({self.work})"
            raise no_space(f"{self.cell.name} can't be compiled: {why}", log=self.log)
        if fault := self._machine_fault(code):
            reason, why = fault
            raise FoundryError(f"the machine ended the compile of {self.cell.name}: {why}", reason=reason, log=self.log,
                               replay=replay, hint=_HINTS[reason], retry=True)
        raise FoundryError(
            f"{what}: {first or f'exit code {code}; the log ends with: {last_line(self.log, self._begin)}'}",
            reason=Reason.COMPILE_FAILED, log=self.log, replay=replay,
            hint="read the log, or replay the compile in the toolkit",
        )

    def _machine_fault(self, code: int) -> tuple[Reason, str] | None:
        """What the machine is to blame for, in words."""
        if fault := machine_fault(self.log, self._begin):
            return fault
        if code in _PODMAN_ITSELF and (why := said_by_podman(self.log, self._begin)):  # programs end with these, too
            return Reason.PODMAN_FAILED, f"podman could not run it: {why}"
        if code < 0 or code > _SIGNALS:
            number = -code if code < 0 else code - _SIGNALS
            return Reason.CONTAINER_KILLED, f"{'podman' if code < 0 else 'the container'} was ended by signal {number}"
        return None


def _started(foundry: Foundry, toolkit: str, log: Path, once: Callable[[], Completed]) -> Completed:
    """What `once` gives; again where podman could not start it because somebody else removed the toolkit meanwhile."""
    done = once()
    if done.returncode in _PODMAN_ITSELF and not foundry.containers.engine.has_image(toolkit):
        foundry.containers.images.refresh(toolkit, log)
        done = once()
    return done


def print_file(
    engine: Engine, toolkit: str, kernel: str, files: Sequence[str], timeout: float = _PRINT_SECONDS
) -> Completed:
    """Have a container of a toolkit print the first of these files in a kernel's build tree; it fails without any."""
    with engine.container(f"{files[0].rpartition('/')[2]} {kernel}") as name:
        return engine.call(
            "run", f"--name={name}", *CONFINED, "--user=0", "--entrypoint=/bin/sh", toolkit,
            "-c", _PRINT, "sh", kernel, *files, check=False, timeout=timeout,
        )


def kernel_file(
    foundry: Foundry, cell: Cell, toolkit: str, log: Path, files: Sequence[str] = EXPORTS,
    timeout: Callable[[], float] = lambda: _PRINT_SECONDS,
) -> bytes:
    """The kernel's own file, the first of these that is there, read in a container in which nothing of the driver runs.

    Once for each kernel of a toolkit: it may have a real-time one, too, which exports other symbols.
    """
    with foundry.kernel_files_lock:
        known = (toolkit, cell.kernel, files[0])
        if known not in foundry.kernel_files:
            engine = foundry.containers.engine

            done = _started(foundry, toolkit, log,
                            lambda: print_file(engine, toolkit, cell.kernel, files, timeout()))
            if done.returncode not in (0, 1):  # the machine, not the answer that there is no such file
                raise FoundryError(failure_sentence(done), reason=Reason.PODMAN_FAILED, hint="run `doit doctor`")
            if done.returncode != 0 or not done.stdout:
                raise FoundryError(
                    f"the toolkit of {cell.name} has no build tree for kernel {cell.kernel} with {files[0]}",
                    reason=Reason.TOOLKIT_WITHOUT_KERNEL, log=log,
                    hint=f"is {cell.toolkit} the toolkit of that kernel? Correct the catalogue",
                )
            foundry.kernel_files[known] = done.stdout.encode()
        return foundry.kernel_files[known]
